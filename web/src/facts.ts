/** What `model.json` says about the networks: nothing about a model is written in the code. */

import type { Size } from "./boxes.ts";

export interface ModelFile {
  file: string;
  bytes: number;
  /** First digits of its SHA-256: browsers keep a file until it changes, and notice damage. */
  sha: string;
}

/** A head in two parts: what a photo's people share runs once. */
export interface HeadFiles {
  shared: ModelFile;
  own: ModelFile;
  /** The tensors that the first part makes and the second takes. */
  maps: string[];
}

export interface DetectorFacts {
  /** Kind of output, see `people.ts`, and the outputs that it is read from. */
  layout: string;
  outputs: string[];
  nms_iou: number;
  max_candidates: number;
}

export interface HeadFacts {
  /** Inputs of the head's first part for the feature maps, in the order of `layers`. */
  inputs: string[];
  /** The extractor's outputs that it reads. */
  layers: string[];
  output: string;
  mask_size: number;
  roi_padding: number;
  /** Largest side, input pixels, of the ROIs that go into `small_rois`; 0 for one input. */
  small_side: number;
  /** What makes probabilities of scores, see `candidates.ts`; empty where they are taken as they are. */
  score_weights: number[];
}

export interface ModelFacts {
  version: string;
  input: string;
  input_size: Size;
  /** What the sides of a photo's own frame are multiples of; 0 where all fill `input_size`. */
  size_multiple: number;
  /** Half of `input_size`; null where the network takes one size alone. */
  half_size: Size | null;
  /** The people, by √area of their box in pixels of the full size, whom each size counts for. */
  half_from: number;
  full_to: number;
  pad_value: number;
  extractor: ModelFile;
  /** The heads by precision; `default_head` names the one that the page loads. */
  heads: Record<string, HeadFiles>;
  default_head: string;
  detector: DetectorFacts;
  head: HeadFacts;
  score: number;
  threshold: number;
  least_probability: number;
  /** RGB colours; person `i` has the `i`-th, however many follow. */
  palette: [number, number, number][];
}
