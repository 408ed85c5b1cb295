/** A photo at its full size and at half of it, as `inference/encoders.py` has it. */

import { area, type Box } from "./boxes.ts";
import type { ModelFacts } from "./facts.ts";
import type { Head, PictureHead } from "./head.ts";
import { asPlanes, type AxisTransform, frameOf, letterbox, toInput } from "./letterbox.ts";
import type { Network } from "./network.ts";
import { candidates, type Found, inSource, nms } from "./people.ts";
import type { Picture } from "./resize.ts";

export interface View {
  transform: AxisTransform;
  /** The head on the extractor's outputs. */
  head: PictureHead;
  /** Who was found in it, in the photo's pixels, best first. */
  people: Found[];
}

/** Run the extractor on each size of a photo; it returns the milliseconds of both steps too. */
export async function look(
  photo: Picture,
  facts: ModelFacts,
  extractor: Network,
  head: Head,
  least: number,
): Promise<{ views: View[]; letterbox: number; extractor: number }> {
  const taken = { letterbox: 0, extractor: 0 };
  const views: View[] = [];
  for (const size of facts.half_size ? [facts.input_size, facts.half_size] : [facts.input_size]) {
    const start = performance.now();
    const boxed = letterbox(photo, frameOf(photo, size, facts.size_multiple), facts.pad_value);
    const { width, height, transform } = boxed;
    const input = extractor.tensor(asPlanes(boxed), [1, 3, height, width]);
    const middle = performance.now();
    const names = [...facts.detector.outputs, ...facts.head.layers];
    const found = await extractor.run({ [facts.input]: input }, names);
    taken.letterbox += middle - start;
    taken.extractor += performance.now() - middle;
    const outputs = facts.detector.outputs.map((name) => found[name]);
    const people = inSource(candidates(facts.detector, outputs, least), transform, photo);
    views.push({ transform, head: head.on(facts.head.layers.map((name) => found[name])), people });
  }
  return { views, ...taken };
}

/** Whether the full and the half size count for a person in a box of the photo. */
export function ofSizes(box: Box, full: AxisTransform, facts: ModelFacts): boolean[] {
  if (!facts.half_size) return [true];
  const side = Math.fround(Math.sqrt(area(toInput(box, full))));
  return [side < facts.full_to, side >= facts.half_from];
}

/** The people of all sizes, best first, without those whom two found. */
export function everybody(views: View[], facts: ModelFacts): Found[] {
  if (views.length === 1) return views[0].people;
  const counted = views.map(({ people }, view) =>
    people.filter(({ box }) => ofSizes(box, views[0].transform, facts)[view]),
  );
  return nms(counted.flat().sort((a, b) => b.score - a.score), facts.detector.nms_iou);
}

/** The mean of a person's probabilities over the sizes that count. */
export function mean(parts: Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0];
  return parts[0].map((value, i) => Math.fround(value + parts[1][i]) / 2);
}
