/** Large files with progress, kept by the browser until they change. */

import type { ModelFile } from "./facts.ts";

const STORE = "human-edge-detection-models";

/** Bytes that have come, of all that are to come. */
export type Progress = (loaded: number, total: number) => void;

/** The files' bytes in their order; files that are in no list any more are let go. */
export async function loadFiles(files: ModelFile[], progress: Progress): Promise<Uint8Array[]> {
  const store = await openStore();
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let loaded = 0;
  const wanted = files.map(({ file, sha }) => new URL(`${file}?v=${sha}`, location.href).href);
  const load = async (url: string, index: number) => {
    const response = (await store?.match(url)) ?? (await fetch(url));
    if (!response.ok) throw new Error(`${url} answered ${response.status}`);
    const kept = store?.put(url, response.clone()).catch(() => undefined); // no room is no error
    const bytes = await readAll(response, (count) => progress((loaded += count), total));
    await kept;
    if (!(await isWhole(bytes, files[index].sha))) {
      await store?.delete(url); // reloading the page fetches it again
      throw new Error(`${files[index].file} arrived damaged: reload the page`);
    }
    return bytes;
  };
  const found = await Promise.all(wanted.map(load));
  for (const { url } of (await store?.keys()) ?? []) {
    if (!wanted.includes(url)) await store?.delete(url);
  }
  return found;
}

/** Browsers keep nothing for pages that come over plain HTTP from another machine. */
async function openStore(): Promise<Cache | undefined> {
  return "caches" in globalThis ? caches.open(STORE).catch(() => undefined) : undefined;
}

/** Whether bytes have a hash; taken as true where browsers compute none, over plain HTTP. */
async function isWhole(bytes: Uint8Array, sha: string): Promise<boolean> {
  if (!globalThis.crypto?.subtle) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as BufferSource));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("").startsWith(sha);
}

async function readAll(response: Response, count: (bytes: number) => void): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const reader = response.body!.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    count(part.value.length);
  }
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
