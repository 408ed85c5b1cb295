/** The people as a list: what pointer and photo do, done by keyboard and read aloud. */

import type { Person } from "./segmenter.ts";
import type { View } from "./stage.ts";

export interface ListEvents {
  point(place: number | undefined): void;
  choose(place: number): void;
  remove(place: number): void;
}

export class PeopleList {
  constructor(
    private readonly list: HTMLElement,
    private readonly events: ListEvents,
  ) {}

  /** Show everybody anew; the focus stays at its place. */
  setPeople(people: Person[], view: View): void {
    const focused = this.buttons().indexOf(document.activeElement as HTMLButtonElement);
    this.list.replaceChildren(...people.map((person, place) => this.item(person, place, view)));
    if (focused >= 0) this.buttons()[Math.min(focused, people.length - 1)]?.focus();
  }

  /** Show who is chosen, and who is pointed at. */
  setView({ chosen, at }: View): void {
    this.buttons().forEach((button, place) => {
      button.setAttribute("aria-pressed", String(chosen.has(place)));
      button.parentElement?.classList.toggle("at", place === at);
    });
    if (at !== undefined && !this.list.matches(":hover")) this.reveal(at);
  }

  /** Scroll the list alone, not the page, to somebody who is out of sight. */
  private reveal(place: number): void {
    const row = this.list.children[place].getBoundingClientRect();
    const { top, bottom } = this.list.getBoundingClientRect();
    this.list.scrollTop += Math.min(row.top - top, 0) + Math.max(row.bottom - bottom, 0);
  }

  private buttons(): HTMLButtonElement[] {
    return [...this.list.querySelectorAll<HTMLButtonElement>(".person")];
  }

  private item(person: Person, place: number, { colors, chosen }: View): HTMLLIElement {
    const item = document.createElement("li");
    const choose = document.createElement("button");
    choose.className = "person";
    choose.setAttribute("aria-pressed", String(chosen.has(place)));
    const note = person.isOwn ? "your box" : person.score.toFixed(2);
    const swatch = element("span", "swatch", "");
    swatch.style.background = `rgb(${colors[place].join(" ")})`;
    choose.append(swatch, element("span", "name", `Person ${place + 1}`), element("span", "score", note));
    choose.setAttribute("aria-label", `Person ${place + 1}, ${person.isOwn ? note : `score ${note}`}`);
    choose.onclick = () => this.events.choose(place);
    choose.onfocus = choose.onpointerenter = () => this.events.point(place);
    choose.onblur = choose.onpointerleave = () => this.events.point(undefined);
    choose.onkeydown = ({ key }) => {
      if (key === "Delete" || key === "Backspace") this.events.remove(place);
    };
    const remove = element("button", "remove", "×");
    remove.setAttribute("aria-label", `Remove person ${place + 1}`);
    remove.title = "Remove (Delete)";
    remove.onclick = () => this.events.remove(place);
    item.append(choose, remove);
    return item;
  }
}

function element<K extends keyof HTMLElementTagNameMap>(kind: K, name: string, text: string) {
  const made = document.createElement(kind);
  made.className = name;
  made.textContent = text;
  return made;
}
