/** The page: what is shown, and what happens when somebody does something. */

import { chosenHead } from "./address.ts";
import type { Box } from "./boxes.ts";
import type { ModelFacts, ModelFile } from "./facts.ts";
import { Keys } from "./keys.ts";
import { PeopleList } from "./list.ts";
import { Model } from "./model.ts";
import { pen, type Photo, readPhoto } from "./photo.ts";
import * as save from "./save.ts";
import type { Segmentation, Settings } from "./segmenter.ts";
import { watchSources } from "./sources.ts";
import { Stage, type View } from "./stage.ts";
import type { Answer } from "./worker.ts";

/** Written by the build: the runtime's file. */
declare const RUNTIME: ModelFile;

function find<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const scoreSlider = find<HTMLInputElement>("score");
const thresholdSlider = find<HTMLInputElement>("threshold");

let facts: ModelFacts;
let photo: Photo | undefined;
let found: Segmentation | undefined;
let view: View = { colors: [], chosen: new Set() };
let removed: number[] = [];

const model = new Model((loaded, total) => {
  find<HTMLProgressElement>("loading-bar").value = loaded / total;
  find("loading-text").textContent = `Loading the model: ${Math.round((loaded / total) * 100)} %`;
});

const stage = new Stage(find<HTMLCanvasElement>("photo"), find("frame"), {
  point,
  choose,
  draw: (box) => void drawBox(box),
});
const list = new PeopleList(find("people"), { point, choose, remove: (place) => void remove(place) });
new Keys(find("stage"), () => photo?.canvas, {
  step(by) {
    const count = found?.people.length ?? 0;
    if (count === 0) return;
    const place = view.at === undefined ? (by > 0 ? 0 : count - 1) : (view.at + by + count) % count;
    point(place);
    say(describe(place));
  },
  choose: () => view.at !== undefined && choose(view.at),
  remove: () => void (view.at !== undefined && remove(view.at)),
  clear: () => setView({ ...view, chosen: new Set(), at: undefined }),
  place(box) {
    stage.setBox(box);
    if (box) say("A box: arrows move it, Shift and arrows size it, Enter cuts out, Escape leaves");
  },
  draw: (box) => void drawBox(box),
});

/** The networks, ready; everything that needs them waits for this. */
const ready = open();

async function open(): Promise<void> {
  facts = await (await fetch("model.json", { cache: "no-cache" })).json();
  const head = chosenHead(facts, location.search);
  scoreSlider.value = String(facts.score);
  thresholdSlider.value = String(facts.threshold);
  showSliders();
  await model.open(facts, RUNTIME, head);
  document.body.classList.add("ready");
}

ready.catch((error: Error) => fail(`The model could not be loaded: ${error.message}`));

function settings(): Settings {
  return { score: scoreSlider.valueAsNumber, threshold: thresholdSlider.valueAsNumber, removed };
}

/** Of photos that are read at once, only the last that was asked for is shown. */
let latest = 0;

async function show(file: Blob, name: string): Promise<void> {
  const ticket = ++latest;
  let shown: Photo | undefined;
  try {
    say(`Opening ${name}`);
    const opened = await readPhoto(file, name);
    if (ticket !== latest) return;
    [shown, photo, found, removed] = [opened, opened, undefined, []];
    document.body.classList.add("working", "busy");
    stage.setPhoto(opened);
    setView({ colors: [], chosen: new Set() });
    list.setPeople([], view);
    find("count").textContent = "People";
    say("Looking for people");
    await ready;
    if (photo !== shown) return;
    const start = performance.now();
    const { width, height } = opened.canvas;
    const { data: pixels } = pen(opened.canvas).getImageData(0, 0, width, height);
    const answer = await model.photo({ pixels, width, height, channels: 4 }, settings());
    if (photo !== shown) return;
    take(answer);
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    const reduced = opened.isReduced ? `; scaled down to ${width} × ${height}` : "";
    say(`${count(answer.people.length)} in ${seconds} s${reduced}`);
    find("stage").focus({ preventScroll: true, focusVisible: false } as FocusOptions);
  } catch (error) {
    if (shown ? photo === shown : ticket === latest) fail((error as Error).message);
  } finally {
    if (shown && photo === shown) document.body.classList.remove("busy");
  }
}

function count(people: number): string {
  return people === 0 ? "Nobody found" : people === 1 ? "1 person" : `${people} people`;
}

/** Show an answer; who was chosen stays chosen. */
function take(answer: Answer): void {
  const chosenIds = new Set([...view.chosen].map((place) => found?.people[place]?.id));
  found = answer;
  const places = answer.people.flatMap(({ id }, place) => (chosenIds.has(id) ? [place] : []));
  const colors = answer.people.map(({ id }) => facts.palette[id % facts.palette.length]);
  view = { colors, chosen: new Set(places) };
  stage.setPeople(found, view);
  list.setPeople(found.people, view);
  find("count").textContent = count(answer.people.length);
  const back = find("restore");
  back.hidden = removed.length === 0;
  back.textContent = `Bring back ${removed.length} removed`;
  showSaves();
}

function setView(next: View): void {
  view = next;
  stage.setView(view);
  list.setView(view);
  showSaves();
}

function point(place: number | undefined): void {
  if (place !== view.at) setView({ ...view, at: place });
  find("hint").textContent = place === undefined ? "" : describe(place);
}

function describe(place: number): string {
  const person = found?.people[place];
  if (!person) return "";
  const what = person.isOwn ? "your box" : `score ${person.score.toFixed(2)}`;
  return `Person ${place + 1}, ${what}${view.chosen.has(place) ? ", chosen" : ""}`;
}

function choose(place: number): void {
  const chosen = new Set(view.chosen);
  if (!chosen.delete(place)) chosen.add(place);
  setView({ ...view, chosen });
  say(`Person ${place + 1} ${chosen.has(place) ? "chosen" : "not chosen"}`);
}

/** Share out the pixels anew; of several wishes that come at once the last is granted. */
let isSettling = false;
let isAskedAgain = false;

async function settle(): Promise<void> {
  if (!found) return;
  if (isSettling) {
    isAskedAgain = true;
    return;
  }
  isSettling = true;
  const shown = photo;
  try {
    const answer = await model.settle(settings());
    if (photo === shown) {
      take(answer);
      say(count(answer.people.length));
    }
  } catch (error) {
    fail((error as Error).message);
  } finally {
    isSettling = false;
  }
  if (isAskedAgain) {
    isAskedAgain = false;
    await settle();
  }
}

async function remove(place: number): Promise<void> {
  const person = found?.people[place];
  if (!person) return;
  removed = [...removed, person.id];
  await settle();
  say(`Person ${place + 1} removed, ${count(found?.people.length ?? 0)} left`);
}

async function drawBox(box: Box): Promise<void> {
  if (!photo || !found) return;
  const shown = photo;
  const start = performance.now();
  try {
    const answer = await model.box(box, settings());
    if (photo !== shown) return;
    take(answer);
    const place = answer.people.findIndex(({ id }) => id === answer.added);
    setView({ ...view, at: place });
    const time = `${Math.round(performance.now() - start)} ms`;
    const isThere = answer.labels.includes(place + 1);
    say(isThere ? `Person ${place + 1} cut out of your box in ${time}` : "Nobody found in your box");
  } catch (error) {
    fail((error as Error).message);
  }
}

/** Tell what happened, to eyes and to screen readers. */
function say(text: string): void {
  document.body.classList.remove("failed");
  find("status").textContent = text;
}

function fail(text: string): void {
  say(text);
  document.body.classList.add("failed");
}

function showSliders(): void {
  find("score-value").textContent = scoreSlider.valueAsNumber.toFixed(2);
  find("threshold-value").textContent = thresholdSlider.valueAsNumber.toFixed(2);
}

for (const slider of [scoreSlider, thresholdSlider]) {
  slider.addEventListener("input", () => {
    showSliders();
    void settle();
  });
}

/** Places of those who are to be saved: the chosen ones, else everybody. */
function wanted(): number[] {
  const everybody = found?.people.map((_, place) => place) ?? [];
  return view.chosen.size > 0 ? everybody.filter((place) => view.chosen.has(place)) : everybody;
}

function showSaves(): void {
  const isNobody = !found || found.people.length === 0;
  document.querySelectorAll<HTMLButtonElement>("#saves button").forEach((b) => (b.disabled = isNobody));
  const who = view.chosen.size > 0 ? `${view.chosen.size} chosen` : "everybody";
  find("who").textContent = isNobody ? "" : who;
}

const SAVES: Record<string, (photo: Photo, found: Segmentation) => Promise<[Blob, string]>> = {
  "save-cutout": async (photo, found) => [await save.cutOut(photo, found, wanted()), "_cutout.png"],
  "save-zip": async (photo, found) => [await save.cutOuts(photo, found, wanted()), "_cutouts.zip"],
  "save-overlay": async (photo, found) => [await save.overlay(photo, found, view.colors), "_overlay.png"],
  "save-labels": async (photo, found) => [save.labelMap(photo, found), "_labels.png"],
  "save-coco": async (photo, found) => [save.coco(photo, found), "_coco.json"],
};

for (const [id, make] of Object.entries(SAVES)) {
  find(id).addEventListener("click", async () => {
    if (!photo || !found) return;
    try {
      const [blob, ending] = await make(photo, found);
      save.download(blob, photo.name + ending);
      say(`Saved ${photo.name}${ending}`);
    } catch (error) {
      fail((error as Error).message);
    }
  });
}

find("restore").addEventListener("click", () => {
  removed = [];
  void settle();
});

find("draw").addEventListener("click", ({ currentTarget }) => {
  stage.isDrawing = !stage.isDrawing;
  (currentTarget as HTMLElement).setAttribute("aria-pressed", String(stage.isDrawing));
  find("stage").classList.toggle("drawing", stage.isDrawing);
  say(stage.isDrawing ? "Drag a box around somebody" : "");
});

watchSources((file, name) => void show(file, name), fail);

if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register("sw.js").catch(() => undefined); // plain HTTP: no offline use
}
