/** OpenCV's resizing of 8-bit RGB, to the bit: networks see what they see in Python. */

import type { Size } from "./boxes.ts";

/** 8-bit pixels row by row; of four channels the last (alpha) is not read. */
export interface Picture extends Size {
  pixels: Uint8Array | Uint8ClampedArray;
  channels: 3 | 4;
}

const f32 = Math.fround;

/** From here on a double has no bits for fractions, so that adding it rounds as doubles do. */
const NO_FRACTION = 1.5 * 2 ** 52;

/** Python's and OpenCV's rounding: halves go to the even neighbour. */
export function roundHalfEven(value: number): number {
  return value + NO_FRACTION - NO_FRACTION;
}

/** The picture at another size, RGB: averaged where it shrinks, interpolated where it grows. */
export function resize(picture: Picture, size: Size): Uint8Array {
  const shrinks = size.width * size.height < picture.width * picture.height;
  if (!shrinks) return resizeLinear(picture, size);
  const stepX = 1 / (size.width / picture.width);
  const stepY = 1 / (size.height / picture.height);
  const isWhole = (step: number) => Math.abs(step - roundHalfEven(step)) < Number.EPSILON;
  if (isWhole(stepX) && isWhole(stepY)) {
    return averageBlocks(picture, size, roundHalfEven(stepX), roundHalfEven(stepY));
  }
  return resizeArea(picture, size, stepX, stepY);
}

/** INTER_AREA by whole factors. */
function averageBlocks(picture: Picture, size: Size, stepX: number, stepY: number): Uint8Array {
  const { pixels, channels } = picture;
  const out = new Uint8Array(size.width * size.height * 3);
  const share = f32(1 / (stepX * stepY));
  const isFour = stepX === 2 && stepY === 2; // OpenCV rounds halves up here, else to even
  let at = 0;
  for (let y = 0; y < size.height; y++) {
    for (let x = 0; x < size.width; x++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let j = 0; j < stepY; j++) {
          let from = ((y * stepY + j) * picture.width + x * stepX) * channels + c;
          for (let i = 0; i < stepX; i++, from += channels) sum += pixels[from];
        }
        out[at++] = isFour ? (sum + 2) >> 2 : roundHalfEven(f32(sum * share));
      }
    }
  }
  return out;
}

/** Which source cells fall into which target cells along one axis, and with what weight. */
interface Shares {
  target: Int32Array;
  source: Int32Array;
  weight: Float32Array;
}

function areaShares(sourceSize: number, targetSize: number, step: number): Shares {
  const target: number[] = [];
  const source: number[] = [];
  const weight: number[] = [];
  const add = (to: number, from: number, share: number) => {
    target.push(to);
    source.push(from);
    weight.push(share);
  };
  for (let to = 0; to < targetSize; to++) {
    const low = to * step;
    const high = low + step;
    const cell = Math.min(step, sourceSize - low);
    const last = Math.min(Math.floor(high), sourceSize - 1);
    const first = Math.min(Math.ceil(low), last);
    if (first - low > 1e-3) add(to, first - 1, (first - low) / cell);
    for (let from = first; from < last; from++) add(to, from, 1 / cell);
    if (high - last > 1e-3) add(to, last, Math.min(Math.min(high - last, 1), cell) / cell);
  }
  return {
    target: Int32Array.from(target),
    source: Int32Array.from(source),
    weight: Float32Array.from(weight),
  };
}

/** INTER_AREA by any factor: columns first, then rows, every sum in float32. */
function resizeArea(picture: Picture, size: Size, stepX: number, stepY: number): Uint8Array {
  const columns = areaShares(picture.width, size.width, stepX);
  const rows = areaShares(picture.height, size.height, stepY);
  const out = new Uint8Array(size.width * size.height * 3);
  const row = new Float32Array(size.width * 3);
  const sum = new Float32Array(size.width * 3);
  let rowOf = -1;
  for (let k = 0; k < rows.target.length; k++) {
    const to = rows.target[k];
    if (rows.source[k] !== rowOf) averageColumns(picture, (rowOf = rows.source[k]), columns, row);
    const weight = rows.weight[k];
    const isFirst = k === 0 || rows.target[k - 1] !== to;
    if (isFirst) for (let i = 0; i < row.length; i++) sum[i] = weight * row[i];
    else for (let i = 0; i < row.length; i++) sum[i] += f32(weight * row[i]);
    const isLast = k + 1 === rows.target.length || rows.target[k + 1] !== to;
    if (isLast) for (let i = 0; i < row.length; i++) out[to * row.length + i] = roundHalfEven(sum[i]);
  }
  return out;
}

function averageColumns(picture: Picture, y: number, columns: Shares, row: Float32Array): void {
  const { pixels, channels, width } = picture;
  const { target, source, weight } = columns;
  row.fill(0);
  for (let k = 0; k < target.length; k++) {
    const from = (y * width + source[k]) * channels;
    const to = target[k] * 3;
    const share = weight[k];
    row[to] += f32(pixels[from] * share);
    row[to + 1] += f32(pixels[from + 1] * share);
    row[to + 2] += f32(pixels[from + 2] * share);
  }
}

/** The two source cells of each target cell, and their weights in 2048ths. */
interface Taps {
  first: Int32Array;
  second: Int32Array;
  weights: Int32Array;
}

const TAP_ONE = 2048;

/** At the ends both cells are the same; along x, OpenCV then gives the first all the weight. */
function linearTaps(sourceSize: number, targetSize: number, isAlongX: boolean): Taps {
  const last = sourceSize - 1;
  const step = 1 / (targetSize / sourceSize);
  const first = new Int32Array(targetSize);
  const second = new Int32Array(targetSize);
  const weights = new Int32Array(targetSize * 2);
  for (let to = 0; to < targetSize; to++) {
    const position = f32((to + 0.5) * step - 0.5);
    const cell = Math.floor(position);
    const isAtEnd = cell < 0 || cell >= last;
    const part = isAlongX && isAtEnd ? 0 : f32(position - cell);
    first[to] = Math.min(Math.max(cell, 0), last);
    second[to] = Math.min(cell + 1, last);
    weights[2 * to] = roundHalfEven(f32(f32(1 - part) * TAP_ONE));
    weights[2 * to + 1] = roundHalfEven(f32(part * TAP_ONE));
  }
  return { first, second, weights };
}

/** INTER_LINEAR in OpenCV's fixed point. */
function resizeLinear(picture: Picture, size: Size): Uint8Array {
  const columns = linearTaps(picture.width, size.width, true);
  const rows = linearTaps(picture.height, size.height, false);
  const out = new Uint8Array(size.width * size.height * 3);
  let upper = new Int32Array(size.width * 3);
  let lower = new Int32Array(size.width * 3);
  let upperOf = -1;
  let lowerOf = -1;
  for (let y = 0; y < size.height; y++) {
    if (rows.first[y] === lowerOf) {
      [upper, lower, upperOf, lowerOf] = [lower, upper, lowerOf, upperOf];
    }
    if (rows.first[y] !== upperOf) mixColumns(picture, (upperOf = rows.first[y]), columns, upper);
    if (rows.second[y] !== lowerOf) mixColumns(picture, (lowerOf = rows.second[y]), columns, lower);
    const [one, two] = [rows.weights[2 * y], rows.weights[2 * y + 1]];
    for (let i = 0; i < upper.length; i++) {
      const mixed = ((one * (upper[i] >> 4)) >> 16) + ((two * (lower[i] >> 4)) >> 16);
      out[y * upper.length + i] = (mixed + 2) >> 2;
    }
  }
  return out;
}

function mixColumns(picture: Picture, y: number, columns: Taps, row: Int32Array): void {
  const { pixels, channels, width } = picture;
  const { first, second, weights } = columns;
  for (let x = 0; x < first.length; x++) {
    const a = (y * width + first[x]) * channels;
    const b = (y * width + second[x]) * channels;
    for (let c = 0; c < 3; c++) {
      row[3 * x + c] = pixels[a + c] * weights[2 * x] + pixels[b + c] * weights[2 * x + 1];
    }
  }
}
