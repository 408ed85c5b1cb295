/** Boxes and their arithmetic in float32, as `core/boxes.py` and `core/geometry.py` do it. */

/** x1, y1, x2, y2 in pixels, end-exclusive; every number is a float32. */
export type Box = [number, number, number, number];

export interface Size {
  width: number;
  height: number;
}

const f32 = Math.fround;

export function asBox(values: ArrayLike<number>, at = 0): Box {
  return [f32(values[at]), f32(values[at + 1]), f32(values[at + 2]), f32(values[at + 3])];
}

export function area([x1, y1, x2, y2]: Box): number {
  return f32(Math.max(f32(x2 - x1), 0) * Math.max(f32(y2 - y1), 0));
}

export function iou(a: Box, b: Box): number {
  const width = Math.max(f32(Math.min(a[2], b[2]) - Math.max(a[0], b[0])), 0);
  const height = Math.max(f32(Math.min(a[3], b[3]) - Math.max(a[1], b[1])), 0);
  const shared = f32(width * height);
  const union = f32(f32(area(a) + area(b)) - shared);
  return f32(shared / Math.max(union, f32(1e-9)));
}

export function clip(box: Box, { width, height }: Size): Box {
  const limit = [width, height, width, height];
  return box.map((value, i) => f32(Math.min(Math.max(value, 0), limit[i]))) as Box;
}

/** The region that a box's mask covers: grown by `padding` of its sides and cut to the photo. */
export function paddedRoi(box: Box, padding: number, size: Size): Box {
  const marginX = f32(f32(box[2] - box[0]) * f32(padding));
  const marginY = f32(f32(box[3] - box[1]) * f32(padding));
  const grown = [box[0] - marginX, box[1] - marginY, box[2] + marginX, box[3] + marginY];
  return clip(asBox(grown), size);
}

/** The whole pixels that a ROI's mask is pasted to; none for an empty ROI. */
export function pixelWindow(roi: Box, { width, height }: Size): Box {
  const x1 = Math.min(Math.max(Math.floor(roi[0]), 0), width);
  const y1 = Math.min(Math.max(Math.floor(roi[1]), 0), height);
  if (roi[2] <= roi[0] || roi[3] <= roi[1]) return [x1, y1, x1, y1];
  const x2 = Math.max(Math.min(Math.ceil(roi[2]), width), x1);
  const y2 = Math.max(Math.min(Math.ceil(roi[3]), height), y1);
  return [x1, y1, x2, y2];
}
