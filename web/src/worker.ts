/** Holds the networks and the photo's maps, away from the thread that draws the page. */

import type { Box } from "./boxes.ts";
import type { ModelFacts, ModelFile } from "./facts.ts";
import { Head } from "./head.ts";
import { loadFiles } from "./loading.ts";
import { type Network, openNetwork, useRuntime } from "./network.ts";
import type { Picture } from "./resize.ts";
import { Segmenter, type Segmentation, type Settings } from "./segmenter.ts";

export type Request =
  | { kind: "open"; facts: ModelFacts; runtime: ModelFile; head: string }
  | { kind: "photo"; picture: Picture; settings: Settings }
  | { kind: "box"; box: Box; settings: Settings }
  | { kind: "settle"; settings: Settings };

export type Reply =
  | { progress: { loaded: number; total: number } }
  | { id: number; error: string }
  | { id: number; answer: Answer };

/** What everything but `open` answers with. */
export interface Answer extends Segmentation {
  /** Id of the person in a box of one's own. */
  added?: number;
}

const send = (reply: Reply, moved: Transferable[] = []) =>
  (self as unknown as Worker).postMessage(reply, moved);

let segmenter: Segmenter | undefined;

async function open(request: Extract<Request, { kind: "open" }>): Promise<void> {
  const { facts, runtime, head } = request;
  const { shared, own, maps } = facts.heads[head];
  const progress = (loaded: number, total: number) => send({ progress: { loaded, total } });
  const [wasm, ...models] = await loadFiles([runtime, facts.extractor, shared, own], progress);
  useRuntime(wasm);
  const networks: Network[] = [];
  for (const model of models) networks.push(await openNetwork(model));
  const parts = { shared: networks[1], own: networks[2], maps };
  segmenter = new Segmenter(facts, networks[0], new Head(facts.head, parts));
}

async function answer(request: Exclude<Request, { kind: "open" }>): Promise<Answer> {
  if (!segmenter) throw new Error("the model is not open yet");
  if (request.kind === "photo") await segmenter.setPhoto(request.picture);
  const added = request.kind === "box" ? segmenter.addBox(request.box) : undefined;
  return { ...(await segmenter.settle(request.settings)), added };
}

/** One request after the other, in the order in which they came. */
let queue: Promise<void> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<{ id: number; request: Request }>) => {
  queue = queue.then(() => handle(data.id, data.request));
};

async function handle(id: number, request: Request): Promise<void> {
  try {
    if (request.kind === "open") {
      await open(request);
      send({ id, answer: { people: [], labels: new Uint16Array(), milliseconds: { head: 0, arbitrate: 0 } } });
    } else {
      const found = await answer(request);
      send({ id, answer: found }, [found.labels.buffer]);
    }
  } catch (error) {
    send({ id, error: error instanceof Error ? error.message : String(error) });
  }
}
