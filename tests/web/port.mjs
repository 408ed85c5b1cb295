// Asks the page's modules the questions of a JSON file; writes their answers beside it.
import { readFile, writeFile } from "node:fs/promises";
import { load } from "./bundle.mjs";

const port = await load(
  "boxes", "letterbox", "people", "head", "paste", "arbitrate", "candidates", "rle", "resize",
  "loading", "address",
); // prettier-ignore

const floats = (text) => new Float32Array(Uint8Array.from(Buffer.from(text, "base64")).buffer);
const bytes = (text) => Uint8Array.from(Buffer.from(text, "base64"));
const pack = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");

const ANSWERS = {
  letterbox({ pixels, width, height, channels, size, pad }) {
    const boxed = port.letterbox({ pixels: bytes(pixels), width, height, channels }, size, pad);
    return { pixels: pack(boxed.pixels), ...boxed.transform };
  },
  frame: ({ photo, most, multiple }) => port.frameOf(photo, most, multiple),
  candidates({ facts, boxes, scores, least }) {
    const outputs = [{ data: floats(boxes) }, { data: floats(scores) }];
    return port.candidates(facts, outputs, least);
  },
  rois({ boxes, padding, size, transform, small_side }) {
    const rois = boxes.map((box) => port.paddedRoi(port.asBox(box), padding, size));
    const moved = rois.map((roi) => port.toInput(roi, transform));
    const windows = rois.map((roi) => port.pixelWindow(roi, size));
    return { rois, moved, windows, order: port.sortRois(moved, small_side).order };
  },
  softmax: ({ logits }) => pack(port.softmax(floats(logits))),
  paste({ values, side, roi, window }) {
    const pasted = new port.Pasted([floats(values)], side, roi, window);
    const width = window[2] - window[0];
    const out = new Float32Array(width * (window[3] - window[1]));
    for (let y = window[1]; y < window[3]; y++) {
      pasted.row(0, y, out.subarray((y - window[1]) * width));
    }
    return pack(out);
  },
  candidate_probability: ({ rois, scores }) =>
    port.candidateProbability(rois.map((roi, i) => ({ roi, score: scores[i] }))),
  found_scores({ people, weights, least }) {
    const candidates = people.map((one) => ({ ...one, probs: floats(one.probs) }));
    return port.foundScores(candidates, weights, least);
  },
  least_score: ({ probability, weights, least }) => port.leastScore(probability, weights, least),
  arbitrate({ people, size, threshold, least, count }) {
    const claimants = people.map((one) => ({ ...one, probs: floats(one.probs) }));
    const all = (some, decided) => port.arbitrate(some, size, threshold, least, decided);
    if (count === undefined) return pack(all(claimants));
    const decided = { labels: all(claimants.slice(0, count)), count };
    return { whole: pack(all(claimants)), again: pack(all(claimants, decided)) };
  },
  rle({ labels, label, window, size }) {
    const map = new Uint16Array(bytes(labels).buffer);
    const counts = port.runLengths(map, label, window, size);
    return { counts, text: port.compress(counts) };
  },
  head({ heads, query }) {
    const facts = { heads: Object.fromEntries(heads.map((name) => [name, {}])), default_head: "float" };
    try {
      return port.chosenHead(facts, query);
    } catch (error) {
      return String(error);
    }
  },
  async load({ sha, fetched, stored }) {
    const kept = new Map();
    const store = {
      match: async (url) => kept.get(url)?.clone(),
      put: async (url, response) => void kept.set(url, response),
      delete: async (url) => kept.delete(url),
      keys: async () => [...kept.keys()].map((url) => ({ url })),
    };
    globalThis.location = { href: "http://here/" };
    globalThis.caches = { open: async () => store };
    globalThis.fetch = async () => new Response(bytes(fetched));
    if (stored) kept.set(`http://here/a.onnx?v=${sha}`, new Response(bytes(stored)));
    const file = { file: "a.onnx", bytes: 1, sha };
    const found = await port.loadFiles([file], () => {}).then(([data]) => pack(data), String);
    return { found, kept: kept.size };
  },
};

const questions = JSON.parse(await readFile(process.argv[2], "utf8"));
const answers = [];
for (const { ask, ...question } of questions) answers.push(await ANSWERS[ask](question));
await writeFile(process.argv[3], JSON.stringify(answers));
