/** ROIs into the head, probabilities out of it, as `runtime/head.py` does it. */

import type { Box } from "./boxes.ts";
import type { HeadFacts } from "./facts.ts";
import type { Network, Tensor } from "./network.ts";

/** Background, the person, other people: the planes of a person's probabilities. */
export const CLASSES = 3;
export const TARGET = 1;
export const OTHER = 2;

/** ROIs that go through the head at once: it bounds the memory, not the result. */
const MOST_ROIS = 32;

const f32 = Math.fround;

export interface Sorted {
  large: Box[];
  small: Box[];
  /** For each row of the head's answer the ROI that it belongs to. */
  order: number[];
}

/** Which ROIs go into the input for small people, and whose each row of the answer is. */
export function sortRois(rois: Box[], smallSide: number): Sorted {
  const isSmall = ([x1, y1, x2, y2]: Box) =>
    smallSide > 0 && f32(x2 - x1) <= smallSide && f32(y2 - y1) <= smallSide;
  const rows = rois.map((_, row) => row);
  const order = [...rows.filter((i) => !isSmall(rois[i])), ...rows.filter((i) => isSmall(rois[i]))];
  return { large: rois.filter((r) => !isSmall(r)), small: rois.filter(isSmall), order };
}

/** Softmax over the planes of one person's logits [3, M, M], in place. */
export function softmax(values: Float32Array): Float32Array {
  const count = values.length / CLASSES;
  const [second, third] = [count, 2 * count];
  for (let i = 0; i < count; i++) {
    const most = Math.max(values[i], values[second + i], values[third + i]);
    const a = f32(Math.exp(f32(values[i] - most)));
    const b = f32(Math.exp(f32(values[second + i] - most)));
    const c = f32(Math.exp(f32(values[third + i] - most)));
    const sum = f32(f32(a + b) + c);
    values[i] = a / sum;
    values[second + i] = b / sum;
    values[third + i] = c / sum;
  }
  return values;
}

/**
 * Each ROI's probabilities float32 [3, M, M].
 *
 * @param maps the extractor's outputs that the head reads, in the order of `facts.layers`
 * @param rois input pixels
 */
export async function probabilities(
  head: Network,
  facts: HeadFacts,
  maps: Tensor[],
  rois: Box[],
): Promise<Float32Array[]> {
  const found: Float32Array[] = [];
  for (let start = 0; start < rois.length; start += MOST_ROIS) {
    const some = rois.slice(start, start + MOST_ROIS);
    const { large, small, order } = sortRois(some, facts.small_side);
    const feeds: Record<string, Tensor> = { rois: head.tensor(rows(large), [large.length, 5]) };
    if (facts.small_side > 0) feeds.small_rois = head.tensor(rows(small), [small.length, 5]);
    facts.inputs.forEach((name, i) => (feeds[name] = maps[i]));
    const logits = (await head.run(feeds, [facts.output]))[facts.output].data;
    const size = CLASSES * facts.mask_size ** 2;
    order.forEach((roi, row) => {
      found[start + roi] = softmax(logits.slice(row * size, (row + 1) * size));
    });
  }
  return found;
}

function rows(rois: Box[]): Float32Array {
  return Float32Array.from(rois.flatMap((roi) => [0, ...roi]));
}
