/**
 * How sure it is that each of the detector's candidates is a person of his own.
 *
 * The rule and its reasons are told in `masks/candidates.py`.
 */

import { Odds } from "./arbitrate.ts";
import { area, type Box } from "./boxes.ts";
import { CLASSES, TARGET } from "./head.ts";

/** Mask IoU up to which two candidates are two people, and from which they are likely one. */
const SAME_FROM = 0.1;
const SAME_AT = 0.4;

/** The highest probability that two candidates are one person, whatever their masks are. */
const SURELY_SAME = 0.95;

/** A higher mean probability counts as this, so that a low score has a bound. */
const BEST_QUALITY = 0.9;

/** Every second bin is read, along both sides. */
const STEP = 2;

const f32 = Math.fround;

export interface Candidate {
  /** What his mask covers, source pixels. */
  roi: Box;
  /** The detector's. */
  score: number;
  /** float32 [3, M, M]. */
  probs: Float32Array;
}

/** A candidate's mask in few bins. */
interface Sketch {
  roi: Box;
  side: number;
  /** [side, side], 1 where the mask is. */
  mask: Uint8Array;
  /** Of a bin and of the mask, square pixels. */
  bin: number;
  area: number;
  /** Mean probability inside the mask. */
  quality: number;
}

/** The probability that each candidate is a person of his own. */
export function foundScores(
  candidates: Candidate[],
  weights: number[],
  leastProbability: number,
): number[] {
  const odds = new Odds(leastProbability);
  const sketches = candidates.map(sketch);
  const sure = candidates.map(({ score }, i) => personScore(score, sketches[i].quality, weights, odds));
  const order = sure.map((_, i) => i).sort((a, b) => sure[b] - sure[a] || a - b);
  const own = [...sure];
  order.forEach((one, place) => {
    let free = 1;
    for (const surer of order.slice(0, place)) {
      const iou = maskIou(sketches[Math.min(one, surer)], sketches[Math.max(one, surer)]);
      const same = Math.min(Math.max((iou - SAME_FROM) / (SAME_AT - SAME_FROM), 0), 1);
      free *= 1 - SURELY_SAME * same * own[surer];
    }
    if (free < 1) own[one] = (sure[one] * free) / (sure[one] * free + 1 - sure[one]);
  });
  return own.map(f32);
}

/** A detector's score below which no candidate is a person with this probability. */
export function leastScore(probability: number, weights: number[], leastProbability: number): number {
  if (weights.length === 0 || probability <= leastProbability) return probability;
  const odds = new Odds(leastProbability);
  const [constant, byScore, byQuality] = weights;
  const wanted = odds.log(probability) - constant - byQuality * odds.log(BEST_QUALITY);
  return 1 / (1 + Math.exp(-wanted / byScore));
}

function personScore(score: number, quality: number, weights: number[], odds: Odds): number {
  if (weights.length === 0) return score;
  const [constant, byScore, byQuality] = weights;
  const sum = constant + byScore * odds.log(score) + byQuality * odds.log(Math.min(quality, BEST_QUALITY));
  return f32(1 / (1 + Math.exp(-sum)));
}

function sketch({ roi, probs }: Candidate): Sketch {
  const bins = Math.sqrt(probs.length / CLASSES);
  const side = Math.ceil(bins / STEP);
  const mask = new Uint8Array(side * side);
  let [count, total] = [0, 0];
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const target = probs[TARGET * bins * bins + STEP * (y * bins + x)];
      if (target < 0.5) continue;
      mask[y * side + x] = 1;
      count++;
      total += target;
    }
  }
  const bin = area(roi) / side ** 2;
  return { roi, side, mask, bin, area: count * bin, quality: total / Math.max(count, 1) };
}

/** IoU of two masks, 0 where it cannot exceed `SAME_FROM`; the smaller ROI's bins are compared. */
function maskIou(first: Sketch, second: Sketch): number {
  const [one, other] = first.bin <= second.bin ? [first, second] : [second, first];
  const width = Math.min(one.roi[2], other.roi[2]) - Math.max(one.roi[0], other.roi[0]);
  const height = Math.min(one.roi[3], other.roi[3]) - Math.max(one.roi[1], other.roi[1]);
  const most = Math.min(Math.max(width, 0) * Math.max(height, 0), one.area, other.area);
  if (most <= SAME_FROM * Math.max(one.area, other.area)) return 0;
  const { side, mask } = one;
  const columns = nearestBins(one.roi[0], one.roi[2], other.roi[0], other.roi[2], side);
  const rows = nearestBins(one.roi[1], one.roi[3], other.roi[1], other.roi[3], side);
  let count = 0;
  for (let y = 0; y < side; y++) {
    if (rows[y] < 0) continue;
    for (let x = 0; x < side; x++) {
      if (columns[x] >= 0) count += mask[y * side + x] & other.mask[rows[y] * side + columns[x]];
    }
  }
  const shared = count * one.bin;
  const union = one.area + other.area - shared;
  return Math.min(shared / Math.max(union, 1e-9), 1);
}

/** For each bin of a ROI along an axis the other ROI's bin at its centre, -1 where there is none. */
function nearestBins(low: number, high: number, from: number, to: number, side: number): Int32Array {
  const step = side / Math.max(to - from, 1e-9);
  return Int32Array.from({ length: side }, (_, i) => {
    const place = Math.floor((low + (i + 0.5) * ((high - low) / side) - from) * step);
    return place >= 0 && place < side ? place : -1;
  });
}
