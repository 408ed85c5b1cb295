/**
 * Whose each pixel is, as `masks/fusion.fuse` with the rule `arbitrate` decides it.
 *
 * The rule and its reasons are told in `masks/arbitration.py`.
 */

import { type Box, iou, pixelWindow, type Size } from "./boxes.ts";
import { OTHER, TARGET } from "./head.ts";
import { Pasted } from "./paste.ts";

const f32 = Math.fround;

/** More log-odds than a pixel loses where its parts are added up in float32. */
const ROUNDING = 5e-6;

/** Somebody who claims pixels. */
export interface Claimant {
  /** What his mask covers, source pixels. */
  roi: Box;
  score: number;
  /** float32 [3, M, M]. */
  probs: Float32Array;
}

/** Odds cut so far from 0 and 1 that no single bin or ROI has a veto. */
export class Odds {
  private readonly most: number;

  constructor(private readonly leastProbability: number) {
    this.most = floatBelow(f32(1 - leastProbability));
  }

  log(probability: number): number {
    const sure = Math.min(Math.max(f32(probability), f32(1 - this.most)), this.most);
    return f32(Math.log(f32(sure / f32(1 - sure))));
  }

  /** The log-odds that a pixel must reach where a probability must reach `threshold`. */
  cut(threshold: number): number {
    return f32(this.log(threshold) - ROUNDING);
  }

  /** `log(1 - w·n)` of a probability w·n that the pixel is another person's. */
  unseen(other: number): number {
    return f32(Math.log(Math.max(f32(1 - other), f32(this.leastProbability))));
  }
}

function floatBelow(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  bits[0] -= 1;
  return new Float32Array(bits.buffer)[0];
}

/** The probability that each candidate is a person of its own. */
export function candidateProbability(people: { roi: Box; score: number }[]): number[] {
  const exists = people.map(({ score }) => Math.min(Math.max(score, 0), 1));
  return people.map((one, j) => {
    let own = exists[j];
    people.forEach((surer, i) => {
      if (exists[i] > exists[j]) own *= 1 - iou(one.roi, surer.roi) * exists[i];
    });
    return exists[j] === 1 ? 1 : f32(own / (own + 1 - exists[j]));
  });
}

/** Owners that were decided already, under the same threshold, for the first `count` people alone. */
export interface Decided {
  labels: Uint16Array;
  count: number;
}

/**
 * The owner of every pixel: 0 nobody, `i + 1` the `i`-th of the people.
 *
 * With `decided`, only pixels are decided again where the others may have changed something.
 */
export function arbitrate(
  people: Claimant[],
  size: Size,
  threshold: number,
  leastProbability: number,
  decided?: Decided,
): Uint16Array {
  const odds = new Odds(leastProbability);
  const windows = people.map(({ roi }) => pixelWindow(roi, size));
  const labels = decided?.labels.slice() ?? new Uint16Array(size.width * size.height);
  const area: Box = decided ? touched(windows, decided.count) : [0, 0, size.width, size.height];
  const [x1, y1, x2, y2] = area;
  for (let y = y1; decided && y < y2; y++) {
    labels.fill(0, y * size.width + x1, y * size.width + x2);
  }
  const contested = people.map((_, i) => windows.some((w, j) => j !== i && meet(w, windows[i])));
  const crowd = hearingOrder(people).filter((i) => contested[i]);
  new Crowd(people, windows, crowd, odds, area).settle(labels, size, odds.cut(threshold));
  people.forEach((one, i) => {
    if (contested[i] || !meet(windows[i], area)) return;
    pasteAlone(one, windows[i], i + 1, labels, size, odds, threshold);
  });
  return labels;
}

/**
 * Where people after the first `count` change owners, as one box.
 *
 * They claim pixels of their own windows, and lower the existence of those whose windows meet theirs.
 */
function touched(windows: Box[], count: number): Box {
  const fresh = windows.slice(count);
  const all = windows.filter((window) => fresh.some((one) => one === window || meet(one, window)));
  const [x1, y1, x2, y2] = [0, 1, 2, 3].map((side) => all.map((window) => window[side]));
  return [Math.min(...x1), Math.min(...y1), Math.max(...x2), Math.max(...y2)];
}

/** What two boxes share, if they share anything. */
function common(a: Box, b: Box): Box | undefined {
  const [x1, y1] = [Math.max(a[0], b[0]), Math.max(a[1], b[1])];
  const [x2, y2] = [Math.min(a[2], b[2]), Math.min(a[3], b[3])];
  return x2 > x1 && y2 > y1 ? [x1, y1, x2, y2] : undefined;
}

const meet = (a: Box, b: Box): boolean => common(a, b) !== undefined;

/** The order in which claims are heard depends on the people alone, not on their places. */
function hearingOrder(people: Claimant[]): number[] {
  const sums = people.map(({ probs }) => plane(probs, TARGET).reduce((a, b) => a + b, 0));
  const keys = people.map(({ roi, score }, i) => [
    -score, roi[3], roi[2], roi[1], roi[0], sums[i],
  ]); // prettier-ignore
  const compare = (a: number[], b: number[]) => {
    const place = a.findIndex((value, k) => value !== b[k]);
    return place < 0 ? 0 : a[place] - b[place];
  };
  return people.map((_, i) => i).sort((a, b) => compare(keys[a], keys[b]) || a - b);
}

function plane(probs: Float32Array, which: number): Float32Array {
  const count = probs.length / 3;
  return probs.subarray(which * count, (which + 1) * count);
}

function pasteAlone(
  { probs, roi }: Claimant,
  window: Box,
  label: number,
  labels: Uint16Array,
  size: Size,
  odds: Odds,
  threshold: number,
): void {
  const [x1, y1, x2, y2] = window;
  if (x2 <= x1 || y2 <= y1) return;
  const own = plane(probs, TARGET).map((p) => odds.log(p));
  const pasted = new Pasted([own], Math.sqrt(own.length), roi, window);
  const row = new Float32Array(x2 - x1);
  const cut = odds.cut(threshold);
  for (let y = y1; y < y2; y++) {
    pasted.row(0, y, row);
    for (let x = x1; x < x2; x++) {
      if (row[x - x1] >= cut) labels[y * size.width + x] = label;
    }
  }
}

/** Planes of log-odds at the bins: claim, evidence of others, gain (see `masks/arbitration.py`). */
const CLAIM = 0;
const UNSEEN = 1;
const GAIN = 2;

/** The people whose windows meet others', in the order in which they are heard. */
class Crowd {
  /** Those who claim pixels of `area`, with their labels. */
  private readonly claims: { pasted: Pasted; label: number }[];
  private readonly isSure: boolean;

  constructor(
    people: Claimant[],
    windows: Box[],
    crowd: number[],
    private readonly odds: Odds,
    private readonly area: Box,
  ) {
    const weights = candidateProbability(crowd.map((i) => people[i])).map((own) => f32(Math.sqrt(own)));
    this.isSure = weights.every((value) => value === 1);
    this.claims = crowd.flatMap((i, place) => {
      const window = common(windows[i], area);
      if (!window) return [];
      const planes = this.weigh(people[i].probs, weights[place]);
      const side = Math.sqrt(planes[0].length);
      return [{ pasted: new Pasted(planes, side, people[i].roi, window), label: i + 1 }];
    });
  }

  private weigh(probs: Float32Array, weight: number): Float32Array[] {
    const target = plane(probs, TARGET);
    const unseen = plane(probs, OTHER).map((n) => this.odds.unseen(this.isSure ? n : f32(n * weight)));
    const claim = target.map((t) => this.odds.log(this.isSure ? t : f32(t * weight)));
    const gain = this.isSure ? [] : [target.map((t, i) => f32(this.odds.log(t) - claim[i]))];
    return [claim.map((value, i) => value + f32(unseen[i] * 0.5)), unseen, ...gain];
  }

  /** Write the owners of the crowd's pixels, one row of the photo after the other. */
  settle(labels: Uint16Array, size: Size, cut: number): void {
    const state = {
      others: new Float32Array(size.width),
      strength: new Float32Array(size.width),
      gain: new Float32Array(size.width),
      owner: new Uint16Array(size.width),
    };
    const words = Array.from({ length: 3 }, () => new Float32Array(size.width));
    const [x1, y1, x2, y2] = this.area;
    for (let y = y1; y < y2; y++) {
      const here = this.claims.filter(({ pasted: { window } }) => window[1] <= y && y < window[3]);
      if (here.length === 0) continue;
      state.others.fill(0, x1, x2);
      state.strength.fill(-Infinity, x1, x2);
      state.gain.fill(0, x1, x2);
      state.owner.fill(0, x1, x2);
      for (const { pasted, label } of here) this.hear(pasted, label, y, words, state);
      for (let x = x1; x < x2; x++) {
        const own = f32(f32(-0.5 * state.others[x]) + state.strength[x]);
        const full = this.isSure ? own : f32(own + state.gain[x]);
        if (full >= cut && state.owner[x]) labels[y * size.width + x] = state.owner[x];
      }
    }
  }

  private hear(one: Pasted, label: number, y: number, words: Float32Array[], state: RowState): void {
    const [x1, , x2, y2] = one.window;
    const { others, strength, gain, owner } = state;
    const [claim, unseen, ifExists] = words;
    one.row(CLAIM, y, claim);
    one.row(UNSEEN, y, unseen);
    if (!this.isSure) one.row(GAIN, y, ifExists);
    for (let x = x1, i = 0; x < x2; x++, i++) {
      others[x] += unseen[i];
      if (claim[i] > strength[x]) {
        strength[x] = claim[i];
        gain[x] = ifExists[i];
        owner[x] = label;
      }
    }
    if (y === y2 - 1) one.rest();
  }
}

interface RowState {
  others: Float32Array;
  strength: Float32Array;
  gain: Float32Array;
  owner: Uint16Array;
}
