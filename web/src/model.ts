/** The worker as the page speaks to it: questions that are answered some time. */

import type { Box } from "./boxes.ts";
import type { ModelFacts, ModelFile } from "./facts.ts";
import type { Progress } from "./loading.ts";
import type { Picture } from "./resize.ts";
import type { Settings } from "./segmenter.ts";
import type { Answer, Reply, Request } from "./worker.ts";

interface Waiting {
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

export class Model {
  private readonly worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  private readonly waiting = new Map<number, Waiting>();
  private count = 0;

  constructor(private readonly progress: Progress) {
    this.worker.onmessage = ({ data }: MessageEvent<Reply>) => this.hear(data);
    this.worker.onerror = (event) => {
      const error = new Error(event.message || "the worker could not be started");
      for (const { reject } of this.waiting.values()) reject(error);
      this.waiting.clear();
    };
  }

  async open(facts: ModelFacts, runtime: ModelFile, head: string): Promise<void> {
    await this.ask({ kind: "open", facts, runtime, head });
  }

  /** The people of a photo, whose pixels are handed over. */
  photo(picture: Picture, settings: Settings): Promise<Answer> {
    return this.ask({ kind: "photo", picture, settings }, [picture.pixels.buffer]);
  }

  box(box: Box, settings: Settings): Promise<Answer> {
    return this.ask({ kind: "box", box, settings });
  }

  settle(settings: Settings): Promise<Answer> {
    return this.ask({ kind: "settle", settings });
  }

  private ask(request: Request, moved: Transferable[] = []): Promise<Answer> {
    const id = this.count++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, request }, moved);
    });
  }

  private hear(reply: Reply): void {
    if ("progress" in reply) return this.progress(reply.progress.loaded, reply.progress.total);
    const waiting = this.waiting.get(reply.id);
    this.waiting.delete(reply.id);
    if ("error" in reply) waiting?.reject(new Error(reply.error));
    else waiting?.resolve(reply.answer);
  }
}
