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

/** The networks of both parts, and the names of the maps between them. */
interface Parts {
  shared: Network;
  own: Network;
  maps: string[];
}

export class Head {
  constructor(
    private readonly facts: HeadFacts,
    private readonly parts: Parts,
  ) {}

  /** @param features the extractor's outputs for a picture, in the order of `facts.layers` */
  on(features: Tensor[]): PictureHead {
    return new PictureHead(this.facts, this.parts, features);
  }
}

/** The head on the people of one picture. */
export class PictureHead {
  private maps?: Record<string, Tensor>;

  constructor(
    private readonly facts: HeadFacts,
    private readonly parts: Parts,
    private features: Tensor[],
  ) {}

  /**
   * Each ROI's probabilities float32 [3, M, M]; the first ROIs cost both parts.
   *
   * @param rois input pixels
   */
  async probabilities(rois: Box[]): Promise<Float32Array[]> {
    const found: Float32Array[] = [];
    for (let start = 0; start < rois.length; start += MOST_ROIS) {
      this.maps ??= await this.share();
      const some = await this.run(rois.slice(start, start + MOST_ROIS), this.maps);
      found.push(...some);
    }
    return found;
  }

  private async share(): Promise<Record<string, Tensor>> {
    const { shared, maps } = this.parts;
    const feeds = this.facts.inputs.map((name, i) => [name, this.features[i]]);
    const found = await shared.run(Object.fromEntries(feeds), maps);
    this.features = []; // nothing reads them any more
    return found;
  }

  private async run(rois: Box[], maps: Record<string, Tensor>): Promise<Float32Array[]> {
    const { small_side, output, mask_size } = this.facts;
    const { own } = this.parts;
    const { large, small, order } = sortRois(rois, small_side);
    const feeds: Record<string, Tensor> = { ...maps, rois: own.tensor(rows(large), [large.length, 5]) };
    if (small_side > 0) feeds.small_rois = own.tensor(rows(small), [small.length, 5]);
    const logits = (await own.run(feeds, [output]))[output].data;
    const size = CLASSES * mask_size ** 2;
    const found: Float32Array[] = [];
    order.forEach((roi, row) => {
      found[roi] = softmax(logits.slice(row * size, (row + 1) * size));
    });
    return found;
  }
}

function rows(rois: Box[]): Float32Array {
  return Float32Array.from(rois.flatMap((roi) => [0, ...roi]));
}
