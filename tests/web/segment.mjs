// Runs the page's pipeline on raw RGB photos with onnxruntime-web, one thread.
// node segment.mjs PHOTOS.json PAGE HEAD OUT: the list, the page's folder, float or int8, a folder.
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { load, WEB } from "./bundle.mjs";

const [list, page, head, out] = process.argv.slice(2);
const { Head, openNetwork, useRuntime, Segmenter } = await load("head", "network", "segmenter");

const runtime = "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm";
useRuntime(await readFile(path.join(WEB, runtime)));
const facts = JSON.parse(await readFile(path.join(page, "model.json"), "utf8"));
const open = async ({ file }) => openNetwork(await readFile(path.join(page, file)));
const files = facts.heads[head];
const parts = { ...files, shared: await open(files.shared), own: await open(files.own) };
const segmenter = new Segmenter(facts, await open(facts.extractor), new Head(facts.head, parts));

/** What an action gives, and the milliseconds of a processor that it took. */
async function timed(action) {
  const start = process.cpuUsage();
  const answer = await action();
  const { user, system } = process.cpuUsage(start);
  return [answer, (user + system) / 1000];
}

const answers = [];
for (const photo of JSON.parse(await readFile(list, "utf8"))) {
  const { file, width, height, rounds = 1, box, score = facts.score } = photo;
  const settings = { score, threshold: facts.threshold, removed: [] };
  const pixels = new Uint8Array(await readFile(file));
  const times = [];
  let found, own;
  for (let round = 0; round < rounds; round++) {
    const [, extractor] = await timed(() => segmenter.setPhoto({ pixels, width, height, channels: 3 }));
    const [answer, head] = await timed(() => segmenter.settle(settings));
    found ??= answer;
    times.push({ extractor, head, arbitrate: answer.milliseconds.arbitrate });
    if (!box) continue;
    segmenter.addBox(box);
    [own, times.at(-1).box] = await timed(() => segmenter.settle(settings));
  }
  const labels = path.join(out, `${answers.length}.u16`);
  await writeFile(labels, new Uint8Array(found.labels.buffer));
  if (own) await writeFile(`${labels}.box`, new Uint8Array(own.labels.buffer));
  answers.push({ labels, people: found.people, times });
}
await writeFile(path.join(out, "answers.json"), JSON.stringify(answers));
