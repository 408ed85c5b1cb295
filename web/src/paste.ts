/** From a ROI's bins to the photo's pixels, row by row, as `masks/paste.py` does it. */

import type { Box } from "./boxes.ts";

const f32 = Math.fround;

/** Where pixels lie between the bins along an axis, for bins larger than a pixel. */
interface Taps {
  before: Int32Array;
  part: Float32Array;
}

/** What of each bin falls into each pixel, [pixels, bins], for bins smaller than a pixel. */
type Shares = Float32Array;

type Axis = { taps: Taps; shares?: undefined } | { shares: Shares; taps?: undefined };

function axis(side: number, low: number, high: number, first: number, last: number): Axis {
  const step = side / Math.max(high - low, 1e-6);
  if (step > 1) return { shares: coverShares(side, low, step, first, last) };
  const before = new Int32Array(last - first);
  const part = new Float32Array(last - first);
  for (let i = 0; i < before.length; i++) {
    const at = Math.min(Math.max((i + 0.5 + first - low) * step - 0.5, 0), side - 1);
    before[i] = Math.min(Math.trunc(at), Math.max(side - 2, 0));
    part[i] = at - before[i];
  }
  return { taps: { before, part } };
}

function coverShares(side: number, low: number, step: number, first: number, last: number): Shares {
  const shares = new Float32Array((last - first) * side);
  const edge = (pixel: number) => Math.min(Math.max((pixel - low) * step, 0), side);
  for (let i = 0; i < last - first; i++) {
    const from = edge(first + i);
    const to = edge(first + i + 1);
    for (let bin = 0; bin < side; bin++) {
      const shared = Math.max(Math.min(to, bin + 1) - Math.max(from, bin), 0);
      shares[i * side + bin] = shared / Math.max(to - from, 1e-9);
    }
  }
  return shares;
}

/** Some planes of a person's bins, ready to be read at any row of his window. */
export class Pasted {
  private readonly width: number;
  private readonly rows: Axis;
  private readonly columns: Axis;
  /** Each plane at the window's columns, [side, width]; made with the first row that is read. */
  private wide: Float32Array[] = [];

  /**
   * @param planes float32 [M, M] each
   * @param side M
   * @param roi what the bins cover, source pixels
   * @param window its whole pixels, not empty
   */
  constructor(
    private readonly planes: Float32Array[],
    private readonly side: number,
    roi: Box,
    readonly window: Box,
  ) {
    const [x1, y1, x2, y2] = window;
    this.width = x2 - x1;
    this.columns = axis(side, roi[0], roi[2], x1, x2);
    this.rows = axis(side, roi[1], roi[3], y1, y2);
  }

  /** Write a plane's values at the photo's row `y` to the first places of `out`. */
  row(plane: number, y: number, out: Float32Array): void {
    if (this.wide.length === 0) this.wide = this.planes.map((values) => this.widen(values));
    const { width, side } = this;
    const wide = this.wide[plane];
    const at = y - this.window[1];
    if (this.rows.taps) {
      const start = this.rows.taps.before[at] * width;
      const part = this.rows.taps.part[at];
      const next = side > 1 ? start + width : start;
      for (let x = 0; x < width; x++) {
        const here = wide[start + x];
        out[x] = f32(f32(wide[next + x] - here) * part) + here;
      }
      return;
    }
    const shares = this.rows.shares.subarray(at * side, (at + 1) * side);
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let bin = 0; bin < side; bin++) sum += shares[bin] * wide[bin * width + x];
      out[x] = sum;
    }
  }

  /** Let go of the memory that rows are read from; reading another row makes it anew. */
  rest(): void {
    this.wide = [];
  }

  private widen(values: Float32Array): Float32Array {
    const { width, side } = this;
    const { taps, shares } = this.columns;
    const wide = new Float32Array(side * width);
    for (let bin = 0, out = 0; bin < side; bin++) {
      const row = values.subarray(bin * side, (bin + 1) * side);
      if (taps) {
        const { before, part } = taps;
        const next = side > 1 ? 1 : 0;
        for (let x = 0; x < width; x++) {
          const here = row[before[x]];
          wide[out++] = f32(f32(row[before[x] + next] - here) * part[x]) + here;
        }
      } else {
        for (let x = 0; x < width; x++) {
          let sum = 0;
          for (let i = 0; i < side; i++) sum += row[i] * shares[x * side + i];
          wide[out++] = sum;
        }
      }
    }
    return wide;
  }
}
