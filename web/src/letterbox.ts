/** The photo fitted into the network's input, as `core/geometry.letterbox` does it. */

import type { Box, Size } from "./boxes.ts";
import { type Picture, resize, roundHalfEven } from "./resize.ts";

/** The map `input = scale * source + offset` per axis. */
export interface AxisTransform {
  scale: [number, number];
  offset: [number, number];
}

export interface Letterboxed extends Size {
  /** RGB, row by row, with a grey border. */
  pixels: Uint8Array;
  transform: AxisTransform;
}

/** The smallest frame of whole multiples that holds a photo fitted into `most`; `most` at 0. */
export function frameOf(photo: Size, most: Size, multiple: number): Size {
  if (!multiple) return most;
  const ratio = Math.min(most.height / photo.height, most.width / photo.width);
  const fitted = (side: number) => multiple * Math.max(1, Math.ceil((side * ratio) / multiple - 1e-6));
  return { width: fitted(photo.width), height: fitted(photo.height) };
}

export function letterbox(picture: Picture, size: Size, padValue: number): Letterboxed {
  const ratio = Math.min(size.height / picture.height, size.width / picture.width);
  const width = Math.max(1, roundHalfEven(picture.width * ratio));
  const height = Math.max(1, roundHalfEven(picture.height * ratio));
  const left = roundHalfEven((size.width - width) * 0.5);
  const top = roundHalfEven((size.height - height) * 0.5);
  const isSame = width === picture.width && height === picture.height;
  const resized = isSame ? withoutAlpha(picture) : resize(picture, { width, height });
  const pixels = new Uint8Array(size.width * size.height * 3).fill(padValue);
  for (let y = 0; y < height; y++) {
    const row = resized.subarray(y * width * 3, (y + 1) * width * 3);
    pixels.set(row, ((top + y) * size.width + left) * 3);
  }
  const scale: [number, number] = [width / picture.width, height / picture.height];
  return { pixels, ...size, transform: { scale, offset: [left, top] } };
}

function withoutAlpha({ pixels, channels, width, height }: Picture): Uint8Array {
  if (channels === 3) return new Uint8Array(pixels);
  const out = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < out.length; from += 4) {
    for (let c = 0; c < 3; c++) out[to++] = pixels[from + c];
  }
  return out;
}

/** float32 [3, H, W] in 0…1 from RGB pixels. */
export function asPlanes({ pixels, width, height }: Letterboxed): Float32Array {
  const count = width * height;
  const values = Float32Array.from({ length: 256 }, (_, byte) => byte / 255);
  const planes = new Float32Array(3 * count);
  for (let c = 0, to = 0; c < 3; c++) {
    for (let from = c; from < 3 * count; from += 3) planes[to++] = values[pixels[from]];
  }
  return planes;
}

export function toInput(box: Box, { scale, offset }: AxisTransform): Box {
  return box.map((value, i) => Math.fround(value * scale[i % 2] + offset[i % 2])) as Box;
}

export function toSource(box: Box, { scale, offset }: AxisTransform): Box {
  return box.map((value, i) => Math.fround((value - offset[i % 2]) / scale[i % 2])) as Box;
}
