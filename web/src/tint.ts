/** People in colours over a photo: one tint, one rim, one tag each. */

import type { Size } from "./boxes.ts";
import type { Person } from "./segmenter.ts";

export type Color = [number, number, number];

/** How people are painted: first nobody's pixels, then person after person. */
export interface Inks {
  tints: number[];
  rims: number[];
}

/** A pixel as ImageData holds it on the little-endian machines that there are. */
export function ink([red, green, blue]: Color, opacity: number): number {
  return ((Math.round(opacity * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** Everybody alike, the photo around them as it is. */
export function plainInks(colors: Color[]): Inks {
  const inks = (opacity: number) => [0, ...colors.map((color) => ink(color, opacity))];
  return { tints: inks(0.4), rims: inks(1) };
}

/** Labels at another size, each pixel as its nearest. */
export function scaleLabels(labels: Uint16Array, from: Size, to: Size): Uint16Array {
  const out = new Uint16Array(to.width * to.height);
  const columns = Int32Array.from({ length: to.width }, (_, x) =>
    Math.floor(((x + 0.5) * from.width) / to.width),
  );
  for (let y = 0; y < to.height; y++) {
    const row = Math.floor(((y + 0.5) * from.height) / to.height) * from.width;
    for (let x = 0; x < to.width; x++) out[y * to.width + x] = labels[row + columns[x]];
  }
  return out;
}

/** RGBA pixels of everybody's tint and rim; label `i + 1` is the `i`-th person. */
export function tintLayer(
  labels: Uint16Array,
  { width, height }: Size,
  inks: Inks,
  rimWidth: number,
): ImageData {
  const layer = new ImageData(width, height);
  const pixels = new Uint32Array(layer.data.buffer);
  const [tints, rims] = [Uint32Array.from(inks.tints), Uint32Array.from(inks.rims)];
  const reach = rimWidth * width;
  for (let y = 0, at = 0; y < height; y++) {
    const isAtEnd = y < rimWidth || y >= height - rimWidth;
    for (let x = 0; x < width; x++, at++) {
      const label = labels[at];
      const isInside =
        label === 0 ||
        ((x < rimWidth || labels[at - rimWidth] === label) &&
          (x >= width - rimWidth || labels[at + rimWidth] === label) &&
          (isAtEnd || (labels[at - reach] === label && labels[at + reach] === label)));
      pixels[at] = isInside ? tints[label] : rims[label];
    }
  }
  return layer;
}

export interface Tag {
  x: number;
  y: number;
  /** Pixels of the person's own on either side. */
  room: number;
}

/** Where each person's tag has most room below the head; none for people without pixels. */
export function placeTags(
  people: Person[],
  labels: Uint16Array,
  size: Size,
  scale: number,
): (Tag | undefined)[] {
  return people.map(({ window }, i) => {
    const [x1, y1, x2, y2] = window.map((value) => Math.floor(value * scale));
    let best: Tag | undefined;
    for (const share of [0.35, 0.45, 0.55, 0.65, 0.25, 0.8]) {
      const y = Math.min(Math.floor(y1 + (y2 - y1) * share), size.height - 1);
      const run = longestRun(labels.subarray(y * size.width + x1, y * size.width + x2), i + 1);
      if (run.length > 0 && (!best || run.length / 2 > best.room * 1.3)) {
        best = { x: x1 + run.start + run.length / 2, y, room: run.length / 2 };
      }
    }
    return best;
  });
}

function longestRun(row: Uint16Array, label: number): { start: number; length: number } {
  const best = { start: 0, length: 0 };
  let start = -1;
  for (let x = 0; x <= row.length; x++) {
    if (x < row.length && row[x] === label) {
      if (start < 0) start = x;
    } else if (start >= 0) {
      if (x - start > best.length) Object.assign(best, { start, length: x - start });
      start = -1;
    }
  }
  return best;
}

/** Write a short text in a pill of the person's colour. */
export function drawTag(
  context: CanvasRenderingContext2D,
  { x, y }: Tag,
  text: string,
  [red, green, blue]: Color,
  size: number,
): void {
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  const width = context.measureText(text).width + size * 0.9;
  const height = size * 1.5;
  context.fillStyle = "rgb(16 17 20 / 82%)";
  context.strokeStyle = `rgb(${red} ${green} ${blue})`;
  context.lineWidth = Math.max(1, size / 9);
  context.beginPath();
  context.roundRect(x - width / 2, y - height / 2, width, height, height / 2);
  context.fill();
  context.stroke();
  context.fillStyle = "white";
  context.fillText(text, x, y + size * 0.06);
}
