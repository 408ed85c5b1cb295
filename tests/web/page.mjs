// Uses the built page as people do, in Chromium; writes what it saw, and what was saved.
// node page.mjs DIST PHOTOS OUT CHROMIUM
import { createServer } from "node:http";
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { WEB } from "./bundle.mjs";

const [dist, photos, out, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(path.join(WEB, "package.json"))("playwright-core");
const TYPES = {
  ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json",
  ".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
}; // prettier-ignore

// As a web space that reads _headers.
const [, policy] = (await readFile(path.join(dist, "_headers"), "utf8")).match(/Policy: (.*)/);

const server = createServer(async (request, response) => {
  const name = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
  try {
    const file = path.join(dist, name.endsWith("/") ? `${name}index.html` : name);
    const data = await readFile(file);
    const type = TYPES[path.extname(file)] ?? "application/octet-stream";
    response.writeHead(200, { "content-type": type, "content-security-policy": policy });
    response.end(data);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const origin = `http://127.0.0.1:${server.address().port}`;

const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ], // prettier-ignore
});
const seen = { requests: [], errors: [], names: [] };

async function openPage(options = {}) {
  const context = await browser.newContext({ acceptDownloads: true, ...options });
  context.on("request", (request) => seen.requests.push(request.url()));
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
  await page.goto(`${origin}/${options.query ?? ""}`);
  return page;
}

/** Let a file fall on the page, as from the desktop. */
async function letFall(page, name) {
  const data = (await readFile(path.join(photos, name))).toString("base64");
  const transfer = await page.evaluateHandle(
    ([data, name]) => {
      const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], name));
      return transfer;
    },
    [data, name],
  );
  await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
}

async function drop(page, name) {
  await letFall(page, name);
  await finished(page);
}

const finished = async (page) => {
  await page.waitForFunction(
    () =>
      document.body.classList.contains("failed") ||
      (!document.body.classList.contains("busy") && / in [\d.]+ s/.test(document.getElementById("status").textContent)),
  );
};
const status = (page) => page.textContent("#status");
const people = (page) => page.locator("#people li").count();
const shot = (page, name) => page.screenshot({ path: path.join(out, `${name}.png`), fullPage: true });

/** Press a button that saves; the file is kept under a name of its own, and told its real one. */
async function saved(page, button, as) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(button)]);
  await download.saveAs(path.join(out, as));
  seen.names.push(download.suggestedFilename());
  return as;
}

/** Somewhere on the photo, given in parts of its sides. */
async function at(page, x, y) {
  const box = await page.locator("#photo").boundingBox();
  return [box.x + x * box.width, box.y + y * box.height];
}

async function desktop() {
  const page = await openPage({ viewport: { width: 1280, height: 860 } });
  await page.waitForSelector("body.ready", { state: "attached" });
  await shot(page, "start");
  await drop(page, "crowd.png");
  seen.dropped = { status: await status(page), people: await people(page) };
  await shot(page, "people");
  seen.saved = {};
  for (const kind of ["labels", "coco", "overlay", "zip", "cutout"]) {
    seen.saved[kind] = await saved(page, `#save-${kind}`, kind);
  }

  const [x, y] = JSON.parse(await readFile(path.join(photos, "inside.json"), "utf8"));
  await page.mouse.move(...(await at(page, x, y)));
  seen.hover = await page.textContent("#hint");
  await page.mouse.click(...(await at(page, x, y)));
  seen.chosen = await page.locator('.person[aria-pressed="true"]').count();
  seen.who = await page.textContent("#who");
  await shot(page, "chosen");
  seen.saved.one = await saved(page, "#save-cutout", "one");
  await page.mouse.click(...(await at(page, x, y)));
  seen.unchosen = await page.locator('.person[aria-pressed="true"]').count();

  await page.mouse.move(...(await at(page, 0.1, 0.3)));
  await page.mouse.down();
  await page.mouse.move(...(await at(page, 0.2, 0.6)), { steps: 4 });
  await page.mouse.move(...(await at(page, 0.3, 0.95)), { steps: 4 });
  await page.mouse.up();
  await page.waitForFunction(() => document.getElementById("status").textContent.includes("your box"));
  seen.drawn = { status: await status(page), people: await people(page) };

  const before = await people(page);
  await page.focus("#stage");
  await page.keyboard.press("ArrowRight");
  seen.key = await status(page);
  await page.keyboard.press("Delete");
  await page.waitForFunction((n) => document.querySelectorAll("#people li").length === n - 1, before);
  await page.waitForFunction(() => document.getElementById("status").textContent.includes("removed"));
  seen.removed = { before, after: await people(page), status: await status(page) };
  await page.click("#restore");
  await page.waitForFunction((n) => document.querySelectorAll("#people li").length === n, before);
  await page.focus("#stage");
  for (const key of ["b", "ArrowRight", "Shift+ArrowDown", "Enter"]) await page.keyboard.press(key);
  await page.waitForFunction((n) => document.querySelectorAll("#people li").length === n + 1, before);
  seen.keyBox = await people(page);
  await page.fill("#score", "0.95");
  await page.waitForFunction((n) => document.querySelectorAll("#people li").length <= n, before);
  seen.strict = { people: await people(page), status: await status(page) };
  await page.fill("#score", "0.3");

  await drop(page, "turned.jpg");
  seen.saved.turned = await saved(page, "#save-labels", "turned");
  await drop(page, "broken.jpg");
  seen.broken = await status(page);
  await letFall(page, "crowd.png");
  await page.waitForSelector("body.busy", { state: "attached" });
  await letFall(page, "broken.jpg");
  await page.waitForSelector("body:not(.busy)", { state: "attached" });
  seen.besideBroken = await people(page);
  await drop(page, "large.jpg");
  seen.large = { status: await status(page), people: await people(page) };
  seen.saved.large = await saved(page, "#save-labels", "large");
  await page.context().close();
}

async function darkAndOffline() {
  const page = await openPage({ viewport: { width: 1280, height: 860 }, colorScheme: "dark" });
  await page.waitForSelector("body.ready", { state: "attached" });
  seen.dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await shot(page, "start-dark");
  await page.context().setOffline(true);
  await page.reload();
  await page.click("#example");
  await finished(page);
  seen.offline = { status: await status(page), people: await people(page) };
  await shot(page, "people-dark");
  await page.context().close();
}

async function phone() {
  const page = await openPage({
    viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true,
  }); // prettier-ignore
  await shot(page, "start-phone");
  await page.tap("#example");
  await finished(page);
  const before = await people(page);
  await page.locator("#photo").tap({ position: { x: 5, y: 5 } });
  await page.tap(".person >> nth=1");
  seen.phone = {
    people: before,
    chosen: await page.locator('.person[aria-pressed="true"]').count(),
    overflow: await page.evaluate(() => document.documentElement.scrollWidth - innerWidth),
    small: await page.evaluate(() =>
      [...document.querySelectorAll("#work button, #work label.button")]
        .filter((b) => b.offsetParent && b.getBoundingClientRect().height < 32)
        .map((b) => b.id || b.textContent)),
  }; // prettier-ignore
  await shot(page, "people-phone");
  await page.context().close();
}

/** What stops the page and its worker from asking another origin; not with the visits' requests. */
async function elsewhere() {
  const page = await browser.newPage();
  const started = page.waitForEvent("worker");
  await page.goto(`${origin}/`);
  const ask = () =>
    new Promise((resolve) => {
      addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
      fetch("http://localhost:9/").then(() => resolve("sent"), () => setTimeout(resolve, 1000, "failed"));
    });
  seen.elsewhere = [await page.evaluate(ask), await (await started).evaluate(ask)];
  await page.close();
}

async function wrongHead() {
  const page = await openPage({ query: "?head=small" });
  await page.waitForSelector("body.failed", { state: "attached" });
  seen.wrongHead = await status(page);
  await page.context().close();
}

await desktop();
await wrongHead();
await elsewhere();
await darkAndOffline();
await phone();
seen.origin = origin;
await writeFile(path.join(out, "seen.json"), JSON.stringify(seen, null, 1));
await browser.close();
server.close();
