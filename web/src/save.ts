/** What people take home: cut-outs, label map, COCO results, overlay. */

import { encode } from "fast-png";
import { zipSync } from "fflate";
import type { Box, Size } from "./boxes.ts";
import { pen, type Photo } from "./photo.ts";
import { cocoResults } from "./rle.ts";
import type { Segmentation } from "./segmenter.ts";
import { type Color, drawTag, placeTags, plainInks, tintLayer } from "./tint.ts";

/** PNG of some people alone, transparent around them, as large as their masks. */
export async function cutOut(photo: Photo, found: Segmentation, places: number[]): Promise<Blob> {
  const area = bounds(photo.canvas, found, new Set(places.map((place) => place + 1)));
  const canvas = document.createElement("canvas");
  if (!area) throw new Error("nobody to cut out has any pixel");
  const [x1, y1, x2, y2] = area.window;
  [canvas.width, canvas.height] = [x2 - x1, y2 - y1];
  const pixels = pen(photo.canvas).getImageData(x1, y1, x2 - x1, y2 - y1);
  area.owned.forEach((isOwned, i) => (pixels.data[4 * i + 3] = isOwned ? 255 : 0));
  pen(canvas).putImageData(pixels, 0, 0);
  return asPng(canvas);
}

/** The smallest window that holds some labels, and which of its pixels they own. */
function bounds({ width }: Size, { people, labels }: Segmentation, wanted: Set<number>) {
  const windows = people.filter((_, i) => wanted.has(i + 1)).map(({ window }) => window);
  let [x1, y1, x2, y2] = [Infinity, Infinity, 0, 0];
  for (const [left, top, right, bottom] of windows) {
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        if (!wanted.has(labels[y * width + x])) continue;
        [x1, y1, x2, y2] = [Math.min(x1, x), Math.min(y1, y), Math.max(x2, x + 1), Math.max(y2, y + 1)];
      }
    }
  }
  if (x2 <= x1) return undefined;
  const owned = new Uint8Array((x2 - x1) * (y2 - y1));
  for (let y = y1, at = 0; y < y2; y++) {
    for (let x = x1; x < x2; x++, at++) owned[at] = wanted.has(labels[y * width + x]) ? 1 : 0;
  }
  return { window: [x1, y1, x2, y2] as Box, owned };
}

/** Zip of one PNG each. */
export async function cutOuts(photo: Photo, found: Segmentation, places: number[]): Promise<Blob> {
  const files: Record<string, Uint8Array> = {};
  for (const place of places) {
    if (!found.labels.includes(place + 1)) continue;
    const png = await cutOut(photo, found, [place]);
    files[`${photo.name}_${place + 1}.png`] = new Uint8Array(await png.arrayBuffer());
  }
  return new Blob([asPart(zipSync(files, { level: 0 }))], { type: "application/zip" });
}

/** 16-bit PNG: 0 nobody, `i + 1` the owner of the pixel. */
export function labelMap(photo: Photo, { labels }: Segmentation): Blob {
  const { width, height } = photo.canvas;
  const png = encode({ width, height, data: labels, channels: 1, depth: 16 });
  return new Blob([asPart(png)], { type: "image/png" });
}

export function coco(photo: Photo, { people, labels }: Segmentation): Blob {
  const results = cocoResults(people, labels, photo.canvas, photo.name);
  return new Blob([JSON.stringify(results)], { type: "application/json" });
}

/** PNG of the photo with everybody tinted and numbered. */
export async function overlay(photo: Photo, found: Segmentation, colors: Color[]): Promise<Blob> {
  const { width, height } = photo.canvas;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = pen(canvas);
  const shorter = Math.min(width, height);
  const rim = Math.max(1, Math.round(shorter / 350));
  const layer = tintLayer(found.labels, photo.canvas, plainInks(colors), rim);
  context.putImageData(layer, 0, 0);
  context.globalCompositeOperation = "destination-over";
  context.drawImage(photo.canvas, 0, 0);
  context.globalCompositeOperation = "source-over";
  const size = Math.min(Math.max(shorter / 36, 10), 40);
  placeTags(found.people, found.labels, photo.canvas, 1).forEach((tag, i) => {
    if (tag && tag.room > size * 0.6) drawTag(context, tag, String(i + 1), colors[i], size);
  });
  return asPng(canvas);
}

function asPng(canvas: HTMLCanvasElement): Promise<Blob> {
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no memory for the PNG")))),
  );
}

function asPart(bytes: Uint8Array): BlobPart {
  return bytes as Uint8Array<ArrayBuffer>;
}

export function download(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
