/** From a photo to its people: the maps stay, so that boxes and sliders cost the head at most. */

import { arbitrate } from "./arbitrate.ts";
import { type Box, paddedRoi, pixelWindow, type Size } from "./boxes.ts";
import { foundScores, leastScore } from "./candidates.ts";
import type { ModelFacts } from "./facts.ts";
import { Head } from "./head.ts";
import { toInput } from "./letterbox.ts";
import type { Network } from "./network.ts";
import type { Picture } from "./resize.ts";
import { everybody, look, mean, ofSizes, type View } from "./views.ts";

/** The lowest score that the slider offers. */
export const LOWEST_SCORE = 0.1;

export interface Settings {
  score: number;
  threshold: number;
  /** Ids of the people who were taken out. */
  removed: number[];
}

/** One of the people shown; the label map names him by his place in the list plus 1. */
export interface Person {
  id: number;
  box: Box;
  /** The probability that he is a person of his own; 1 if drawn by hand. */
  score: number;
  /** Drawn by hand: there whatever the score says. */
  isOwn: boolean;
  /** The whole pixels that his mask lies in. */
  window: Box;
}

export interface Segmentation {
  people: Person[];
  labels: Uint16Array;
  /** Milliseconds of the head and of sharing out the pixels. */
  milliseconds: { head: number; arbitrate: number };
}

/** His score is the detector's until he is shown. */
interface Candidate extends Person {
  roi: Box;
  probs?: Float32Array;
}

/** An answer that the next one may build on. */
interface Settled {
  threshold: number;
  people: Person[];
  labels: Uint16Array;
}

export class Segmenter {
  private everybody: Candidate[] = [];
  private settled?: Settled;
  private views: View[] = [];
  private size: Size = { width: 0, height: 0 };

  constructor(
    private readonly facts: ModelFacts,
    private readonly extractor: Network,
    private readonly head: Head,
  ) {}

  /** Run the extractor on a photo; milliseconds of fitting it in and of the network come back. */
  async setPhoto(photo: Picture): Promise<{ letterbox: number; extractor: number }> {
    const { facts, extractor, head } = this;
    const least = this.leastScore(LOWEST_SCORE);
    // The maps of the photo before go first: a phone may not have room for both.
    [this.views, this.everybody, this.settled] = [[], [], undefined];
    const { views, ...taken } = await look(photo, facts, extractor, head, least);
    this.views = views;
    this.size = { width: photo.width, height: photo.height };
    for (const { box, score } of everybody(views, facts)) this.add(box, score, false);
    return taken;
  }

  /** Add a person in a box of one's own; his id comes back. */
  addBox(box: Box): number {
    return this.add(box, 1, true);
  }

  private add(box: Box, score: number, isOwn: boolean): number {
    const roi = paddedRoi(box, this.facts.head.roi_padding, this.size);
    const id = this.everybody.length;
    this.everybody.push({ id, box, score, isOwn, roi, window: pixelWindow(roi, this.size) });
    return id;
  }

  private leastScore(probability: number): number {
    const { head, least_probability } = this.facts;
    return leastScore(probability, head.score_weights, least_probability);
  }

  /** Run the head on some people, in each size that counts for them. */
  private async cutOut(people: Candidate[]): Promise<void> {
    const { views, facts } = this;
    const counts = people.map(({ box }) => ofSizes(box, views[0].transform, facts));
    const parts: Float32Array[][] = people.map(() => []);
    for (const [view, { transform, head }] of views.entries()) {
      const rows = people.map((_, row) => row).filter((row) => counts[row][view]);
      const probs = await head.probabilities(rows.map((row) => toInput(people[row].roi, transform)));
      rows.forEach((row, i) => parts[row].push(probs[i]));
    }
    people.forEach((one, row) => (one.probs = mean(parts[row])));
  }

  /** Who is shown under some settings, and whose each pixel is. */
  async settle({ score, threshold, removed }: Settings): Promise<Segmentation> {
    const start = performance.now();
    const { head: { score_weights }, least_probability } = this.facts; // prettier-ignore
    const least = Math.fround(this.leastScore(score));
    const able = this.everybody.filter((one) => one.isOwn || one.score >= least);
    const unseen = able.filter((one) => !one.probs);
    await this.cutOut(unseen);
    const middle = performance.now();
    // Who was taken out still holds down his duplicates.
    const found = able.filter(({ isOwn }) => !isOwn).map((one) => ({ ...one, probs: one.probs! }));
    const scores = foundScores(found, score_weights, least_probability);
    const scoreOf = new Map(found.map(({ id }, i) => [id, scores[i]]));
    const shown = able
      .map((one) => ({ ...one, score: scoreOf.get(one.id) ?? 1 }))
      .filter(({ id, isOwn, score: own }) =>
        !removed.includes(id) && (isOwn || own >= Math.fround(score)));
    const claimants = shown.map(({ roi, score, probs }) => ({ roi, score, probs: probs! }));
    const people = shown.map(({ id, box, score, isOwn, window }) => ({ id, box, score, isOwn, window }));
    const { settled } = this;
    const decided = settled && isMore(people, threshold, settled)
      ? { labels: settled.labels, count: settled.people.length }
      : undefined; // prettier-ignore
    const labels = arbitrate(claimants, this.size, threshold, least_probability, decided);
    this.settled = { threshold, people, labels };
    const end = performance.now();
    // The worker gives the labels away; those for the next answer stay here.
    return { people, labels: labels.slice(), milliseconds: { head: middle - start, arbitrate: end - middle } };
  }
}

/** Whether people are those of an answer, as sure as there, and perhaps some more behind them. */
function isMore(people: Person[], threshold: number, settled: Settled): boolean {
  return (
    settled.threshold === threshold &&
    settled.people.length <= people.length &&
    settled.people.every(({ id, score }, i) => people[i].id === id && people[i].score === score)
  );
}
