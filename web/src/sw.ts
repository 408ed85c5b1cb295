/** Keeps the page's own files, so that it opens without a network; models are kept by `loading`. */

/** Written by the build: the page's files, and a hash of all of them. */
declare const FILES: string[];
declare const VERSION: string;

const STORE = `human-edge-detection-page-${VERSION}`;

interface ExtendableEvent extends Event {
  waitUntil(work: Promise<unknown>): void;
}

interface FetchEvent extends ExtendableEvent {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}

const scope = self as unknown as EventTarget & {
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void> };
};

function on<E extends Event>(name: string, act: (event: E) => void): void {
  scope.addEventListener(name, act as EventListener);
}

on<ExtendableEvent>("install", (event) => event.waitUntil(keep()));
on<ExtendableEvent>("activate", (event) => event.waitUntil(clear()));
on<FetchEvent>("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

async function keep(): Promise<void> {
  const requests = FILES.map((file) => new Request(file, { cache: "reload" }));
  await (await caches.open(STORE)).addAll(requests);
  await scope.skipWaiting();
}

async function clear(): Promise<void> {
  const old = (await caches.keys()).filter(
    (name) => name.startsWith("human-edge-detection-page-") && name !== STORE,
  );
  await Promise.all(old.map((name) => caches.delete(name)));
  await scope.clients.claim();
}

async function answer(request: Request): Promise<Response> {
  const store = await caches.open(STORE);
  if (new URL(request.url).pathname.endsWith("/model.json")) return fresh(request, store);
  const kept = await store.match(request, { ignoreSearch: request.mode === "navigate" });
  return kept ?? fetch(request);
}

/** The model may be replaced without the page: ask for it, and keep the answer for later. */
async function fresh(request: Request, store: Cache): Promise<Response> {
  try {
    const response = await fetch(request);
    if (response.ok) await store.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await store.match(request);
    if (!kept) throw error;
    return kept;
  }
}
