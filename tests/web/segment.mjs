// Runs the page's pipeline on raw RGB photos with onnxruntime-web, one thread.
// node segment.mjs PHOTOS.json PAGE HEAD OUT: the list, the page's folder, float or int8, a folder.
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { load, WEB } from "./bundle.mjs";

const [list, page, head, out] = process.argv.slice(2);
const { openNetwork, useRuntime, Segmenter } = await load("network", "segmenter");

const runtime = "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm";
useRuntime(await readFile(path.join(WEB, runtime)));
const facts = JSON.parse(await readFile(path.join(page, "model.json"), "utf8"));
const open = async ({ file }) => openNetwork(await readFile(path.join(page, file)));
const segmenter = new Segmenter(facts, await open(facts.extractor), await open(facts.heads[head]));

const answers = [];
for (const { file, width, height, rounds = 1 } of JSON.parse(await readFile(list, "utf8"))) {
  const pixels = new Uint8Array(await readFile(file));
  let best;
  for (let round = 0; round < rounds; round++) {
    const first = await segmenter.setPhoto({ pixels, width, height, channels: 3 });
    const { score, threshold } = facts;
    const { people, labels, milliseconds } = await segmenter.settle({ score, threshold, removed: [] });
    const times = { ...first, ...milliseconds };
    times.all = Object.values(times).reduce((a, b) => a + b);
    if (!best || times.all < best.times.all) best = { people, labels, times };
  }
  const name = path.join(out, `${answers.length}.u16`);
  await writeFile(name, new Uint8Array(best.labels.buffer));
  answers.push({ labels: name, people: best.people, times: best.times });
}
await writeFile(path.join(out, "answers.json"), JSON.stringify(answers));
