/** People out of the extractor's boxes, as `runtime/detector_layouts.py` reads them. */

import { area, asBox, type Box, clip, iou, type Size } from "./boxes.ts";
import type { DetectorFacts } from "./facts.ts";
import { type AxisTransform, toSource } from "./letterbox.ts";

export interface Found {
  box: Box;
  score: number;
}

/** A network's output: numbers and shape. */
export interface Output {
  data: Float32Array;
  dims: readonly number[];
}

type Reader = (outputs: Output[]) => Found[];

const READERS: Record<string, Reader> = {
  /** boxes [1, A, 4] xyxy and scores [1, A]. */
  boxes_scores: ([boxes, scores]) =>
    Array.from(scores.data, (score, i) => ({ box: asBox(boxes.data, 4 * i), score })),
};

/** Boxes in input pixels, best first, each overlapping no better one by more than allowed. */
export function candidates(facts: DetectorFacts, outputs: Output[], least: number): Found[] {
  const read = READERS[facts.layout];
  if (!read) throw new Error(`the page cannot read boxes of the layout '${facts.layout}'`);
  const good = read(outputs).filter(
    ({ box, score }) => score >= Math.fround(least) && box.every(Number.isFinite),
  );
  const best = good.sort((a, b) => b.score - a.score).slice(0, facts.max_candidates);
  return nms(best, facts.nms_iou);
}

/** Greedy non-maximum suppression of people sorted best first. */
export function nms(people: Found[], most: number): Found[] {
  const kept: Found[] = [];
  for (const one of people) {
    if (kept.every(({ box }) => iou(box, one.box) <= Math.fround(most))) kept.push(one);
  }
  return kept;
}

/** The people in the photo's own pixels, without those who lie outside. */
export function inSource(people: Found[], transform: AxisTransform, size: Size): Found[] {
  const moved = people.map(({ box, score }) => ({ box: clip(toSource(box, transform), size), score }));
  return moved.filter(({ box }) => area(box) > 0);
}
