/** The photo with its people: shows them, and tells what pointer and keys do to them. */

import type { Box, Size } from "./boxes.ts";
import { pen, type Photo } from "./photo.ts";
import type { Segmentation } from "./segmenter.ts";
import {
  type Color,
  drawTag,
  ink,
  type Inks,
  placeTags,
  plainInks,
  scaleLabels,
  type Tag,
  tintLayer,
} from "./tint.ts";

/** Pixels along the longer side that are drawn at most. */
const MOST_SIDE = 1800;

const VEIL = ink([18, 19, 24], 0.66);

/** A drag shorter than this, in CSS pixels, is a click. */
const CLICK = 6;

export interface View {
  colors: Color[];
  /** Places of the people who are chosen. */
  chosen: Set<number>;
  /** Place of the person that pointer or keys are at. */
  at?: number;
}

export interface StageEvents {
  /** The pointer came over a person, or over nobody. */
  point(place: number | undefined): void;
  choose(place: number): void;
  /** A box was drawn, source pixels. */
  draw(box: Box): void;
}

export class Stage {
  /** Whether touches draw, rather than scroll the page. */
  isDrawing = false;
  private photo?: Photo;
  private found?: Segmentation;
  private view: View = { colors: [], chosen: new Set() };
  private readonly base = document.createElement("canvas");
  private readonly layer = document.createElement("canvas");
  private labels: Uint16Array = new Uint16Array();
  private tags: (Tag | undefined)[] = [];
  private box?: Box;
  private start?: { x: number; y: number; isDrag: boolean };

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly frame: HTMLElement,
    private readonly events: StageEvents,
  ) {
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", () => this.cancel());
    canvas.addEventListener("pointerleave", () => this.events.point(undefined));
    new ResizeObserver(() => this.fit()).observe(frame);
  }

  setPhoto(photo: Photo): void {
    this.photo = photo;
    this.found = undefined;
    this.view = { colors: [], chosen: new Set() };
    this.fit();
  }

  setPeople(found: Segmentation, view: View): void {
    this.found = found;
    this.view = view;
    this.scale();
    this.paint();
  }

  setView(view: View): void {
    this.view = view;
    this.paint();
  }

  /** Show a box that is being drawn, source pixels; undefined for none. */
  setBox(box: Box | undefined): void {
    this.box = box;
    this.paint();
  }

  /** Give the canvas the size that its frame has room for. */
  private fit(): void {
    if (!this.photo) return;
    const { width, height } = this.photo.canvas;
    const tallest = Math.max(window.innerHeight * 0.74, 260);
    const room = { width: this.frame.clientWidth, height: tallest };
    const shown = Math.min(room.width / width, room.height / height, 3);
    this.canvas.style.width = `${Math.round(width * shown)}px`;
    this.canvas.style.height = `${Math.round(height * shown)}px`;
    const fine = Math.min(shown * devicePixelRatio, MOST_SIDE / Math.max(width, height));
    for (const canvas of [this.canvas, this.base, this.layer]) {
      canvas.width = Math.max(1, Math.round(width * fine));
      canvas.height = Math.max(1, Math.round(height * fine));
    }
    const context = pen(this.base);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.photo.canvas, 0, 0, this.canvas.width, this.canvas.height);
    this.scale();
    this.paint();
  }

  private scale(): void {
    if (!this.photo || !this.found) return;
    this.labels = scaleLabels(this.found.labels, this.photo.canvas, this.canvas);
    this.tags = placeTags(this.found.people, this.labels, this.canvas, this.fineness);
  }

  /** Canvas pixels for each source pixel. */
  private get fineness(): number {
    return this.canvas.width / (this.photo?.canvas.width ?? 1);
  }

  /** Canvas pixels for each CSS pixel. */
  private get density(): number {
    return this.canvas.width / Math.max(this.canvas.clientWidth, 1);
  }

  private paint(): void {
    const context = pen(this.canvas);
    context.drawImage(this.base, 0, 0);
    if (this.found) this.paintPeople(context, this.found);
    if (this.box) this.paintBox(context, this.box);
  }

  private paintPeople(context: CanvasRenderingContext2D, { people }: Segmentation): void {
    const { colors } = this.view;
    const rim = Math.max(1, Math.round(this.density * 1.4));
    pen(this.layer).putImageData(tintLayer(this.labels, this.canvas, this.inks(), rim), 0, 0);
    context.drawImage(this.layer, 0, 0);
    const size = 12 * this.density;
    this.tags.forEach((tag, i) => {
      const hasRoom = tag && tag.room > size * 1.1;
      const isShown = hasRoom || i === this.view.at;
      const text = people[i].isOwn ? "box" : people[i].score.toFixed(2);
      if (tag && isShown) drawTag(context, tag, text, colors[i], size);
    });
  }

  /** Who is chosen stands out as the cut-out will: in his own colours, all else veiled. */
  private inks(): Inks {
    const { colors, chosen, at } = this.view;
    const { tints, rims } = plainInks(colors);
    if (chosen.size > 0) tints[0] = VEIL;
    colors.forEach((color, place) => {
      const isChosen = chosen.has(place);
      if (place === at) tints[place + 1] = ink(color, isChosen ? 0.2 : 0.6);
      else if (isChosen) tints[place + 1] = 0;
      else if (chosen.size > 0) [tints[place + 1], rims[place + 1]] = [VEIL, ink(color, 0.55)];
      else if (at !== undefined) tints[place + 1] = ink(color, 0.28);
    });
    return { tints, rims };
  }

  private paintBox(context: CanvasRenderingContext2D, box: Box): void {
    const [x1, y1, x2, y2] = box.map((value) => value * this.fineness);
    const lines: [string, number[]][] = [["rgb(0 0 0 / 70%)", []], ["white", [6, 5]]];
    for (const [color, dashes] of lines) {
      context.strokeStyle = color;
      context.lineWidth = 2 * this.density;
      context.setLineDash(dashes.map((length) => length * this.density));
      context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
    context.setLineDash([]);
  }

  private press(event: PointerEvent): void {
    if (!event.isPrimary || event.button !== 0) return;
    this.start = { ...this.place(event), isDrag: false };
    if (this.mayDraw(event)) this.canvas.setPointerCapture(event.pointerId);
  }

  private move(event: PointerEvent): void {
    const here = this.place(event);
    if (!this.start || !this.mayDraw(event)) {
      if (event.pointerType !== "touch") this.events.point(this.person(here));
      return;
    }
    const length = Math.hypot(here.x - this.start.x, here.y - this.start.y);
    this.start.isDrag ||= length * this.fineness > CLICK * this.density;
    if (this.start.isDrag) this.setBox(between(this.start, here));
  }

  private release(event: PointerEvent): void {
    const { start } = this;
    this.start = undefined;
    if (!start) return;
    const here = this.place(event);
    if (!start.isDrag) {
      const person = this.person(here);
      if (person !== undefined) this.events.choose(person);
      return;
    }
    this.setBox(undefined);
    this.events.draw(between(start, here));
  }

  private cancel(): void {
    this.start = undefined;
    this.setBox(undefined);
  }

  private mayDraw(event: PointerEvent): boolean {
    return this.isDrawing || event.pointerType !== "touch";
  }

  /** A pointer's place in source pixels, inside the photo. */
  private place(event: PointerEvent): { x: number; y: number } {
    const frame = this.canvas.getBoundingClientRect();
    const size: Size = this.photo?.canvas ?? { width: 1, height: 1 };
    const inside = (value: number, most: number) => Math.min(Math.max(value, 0), most);
    return {
      x: inside(((event.clientX - frame.left) / frame.width) * size.width, size.width),
      y: inside(((event.clientY - frame.top) / frame.height) * size.height, size.height),
    };
  }

  private person({ x, y }: { x: number; y: number }): number | undefined {
    if (!this.photo || !this.found) return undefined;
    const { width, height } = this.photo.canvas;
    const column = Math.min(Math.floor(x), width - 1);
    const row = Math.min(Math.floor(y), height - 1);
    const label = this.found.labels[row * width + column];
    return label ? label - 1 : undefined;
  }
}

function between(a: { x: number; y: number }, b: { x: number; y: number }): Box {
  return [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y)];
}
