/** The photo by keyboard: step from person to person, choose, remove, set a box of one's own. */

import type { Box, Size } from "./boxes.ts";

export interface KeyEvents {
  /** Go to the next (1) or the previous (-1) person. */
  step(by: number): void;
  choose(): void;
  remove(): void;
  /** Escape, when no box is being set. */
  clear(): void;
  /** A box moves about; undefined when it is given up. */
  place(box: Box | undefined): void;
  draw(box: Box): void;
}

export class Keys {
  private box?: Box;

  constructor(
    stage: HTMLElement,
    private readonly size: () => Size | undefined,
    private readonly events: KeyEvents,
  ) {
    stage.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (this.box ? this.shape(this.box, event) : this.walk(event)) event.preventDefault();
    });
  }

  private walk(event: KeyboardEvent): boolean {
    const { events } = this;
    const key = event.key === "B" ? "b" : event.key; // Caps Lock, Shift
    const actions: Record<string, () => void> = {
      ArrowRight: () => events.step(1),
      ArrowDown: () => events.step(1),
      ArrowLeft: () => events.step(-1),
      ArrowUp: () => events.step(-1),
      Enter: () => events.choose(),
      " ": () => events.choose(),
      Delete: () => events.remove(),
      Backspace: () => events.remove(),
      Escape: () => events.clear(),
      b: () => this.begin(),
    };
    actions[key]?.();
    return key in actions;
  }

  private begin(): void {
    const size = this.size();
    if (!size) return;
    const { width, height } = size;
    this.set([width * 0.4, height * 0.25, width * 0.6, height * 0.75]);
  }

  /** Arrows move the box, with Shift its lower right corner; Enter takes it, Escape does not. */
  private shape(box: Box, { key, shiftKey }: KeyboardEvent): boolean {
    const { width = 1, height = 1 } = this.size() ?? {};
    const step = Math.max(width, height) / 50;
    const moves: Record<string, [number, number]> = {
      ArrowRight: [step, 0], ArrowLeft: [-step, 0], ArrowDown: [0, step], ArrowUp: [0, -step],
    }; // prettier-ignore
    const move = moves[key];
    if (move) {
      const moved = box.map((value, i) => (shiftKey && i < 2 ? value : value + move[i % 2])) as Box;
      const fits = moved[0] >= 0 && moved[1] >= 0 && moved[2] <= width && moved[3] <= height;
      if (fits && moved[2] - moved[0] >= step && moved[3] - moved[1] >= step) this.set(moved);
    } else if (key === "Enter") {
      this.set(undefined);
      this.events.draw(box);
    } else if (key === "Escape") {
      this.set(undefined);
    }
    return Boolean(move) || key === "Enter" || key === "Escape";
  }

  private set(box: Box | undefined): void {
    this.box = box;
    this.events.place(box);
  }
}
