/** A label map's people as COCO results, as `core/rle.py` writes them. */

import type { Box, Size } from "./boxes.ts";

/** COCO's uncompressed run lengths: column by column, the background's run first. */
export function runLengths(labels: Uint16Array, label: number, window: Box, size: Size): number[] {
  const [x1, y1, x2, y2] = window;
  const counts: number[] = [];
  let isInside = false;
  let start = 0;
  const turn = (place: number) => {
    counts.push(place - start);
    start = place;
    isInside = !isInside;
  };
  for (let x = x1; x < x2; x++) {
    // Outside the window lies background, above it and below.
    if (isInside && y1 > 0) turn(x * size.height);
    for (let y = y1; y < y2; y++) {
      if ((labels[y * size.width + x] === label) !== isInside) turn(x * size.height + y);
    }
    if (isInside && y2 < size.height) turn(x * size.height + y2);
  }
  const end = size.width * size.height;
  if (isInside && x2 * size.height < end) turn(x2 * size.height);
  if (start < end) counts.push(end - start);
  return counts;
}

/** COCO's compressed text of run lengths: differences to the run before last, 6 bits a letter. */
export function compress(counts: number[]): string {
  let text = "";
  counts.forEach((count, i) => {
    let rest = i > 2 ? count - counts[i - 2] : count;
    for (let more = true; more; ) {
      let bits = rest & 0x1f;
      rest >>= 5;
      more = bits & 0x10 ? rest !== -1 : rest !== 0;
      if (more) bits |= 0x20;
      text += String.fromCharCode(bits + 48);
    }
  });
  return text;
}

export interface CocoResult {
  image_id: number;
  file_name: string;
  category_id: number;
  bbox: [number, number, number, number];
  score: number;
  segmentation: { size: [number, number]; counts: string };
}

/** Everybody of the label map; person `i` has the label `i + 1`. */
export function cocoResults(
  people: { box: Box; score: number; window: Box }[],
  labels: Uint16Array,
  size: Size,
  fileName: string,
): CocoResult[] {
  const rounded = (value: number, digits: number) => Number(value.toFixed(digits));
  return people.map(({ box, score, window }, i) => {
    const [x1, y1, x2, y2] = box.map((value) => rounded(value, 3));
    return {
      image_id: 0,
      file_name: fileName,
      category_id: 1,
      bbox: [x1, y1, rounded(x2 - x1, 3), rounded(y2 - y1, 3)],
      score: rounded(score, 5),
      segmentation: {
        size: [size.height, size.width],
        counts: compress(runLengths(labels, i + 1, window, size)),
      },
    };
  });
}
