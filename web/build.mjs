// Builds the page into dist/: its own files by esbuild, ONNX Runtime's out of node_modules, the
// model's by write_files.py. _headers is for web spaces that read it. PYTHON names the Python that
// has human_edge_detection installed.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = fileURLToPath(new URL("./", import.meta.url));
const DIST = path.join(HERE, "dist");
const RUNTIME = "ort-wasm-simd-threaded.wasm";
const PAGE = [
  "./", "index.html", "style.css", "main.js", "worker.js", "manifest.webmanifest", "icon.svg",
  "icon-192.png", "icon-512.png", "example.jpg", "model.json",
];

const hash = (data) => createHash("sha256").update(data).digest("hex").slice(0, 12);
const bundle = (name, define = {}) =>
  build({
    absWorkingDir: HERE,
    entryPoints: [`src/${name}.ts`],
    outfile: path.join(DIST, `${name}.js`),
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    legalComments: "eof",
    define,
    logLevel: "warning",
  });

await rm(DIST, { recursive: true, force: true });
await mkdir(DIST, { recursive: true });
await cp(path.join(HERE, "public"), DIST, { recursive: true });
const index = await readFile(path.join(DIST, "index.html"), "utf8");
const [, policy] = index.match(/"Content-Security-Policy"\s+content="([^"]+)"/);
await writeFile(path.join(DIST, "_headers"), `/*\n  Content-Security-Policy: ${policy}\n`);
const runtime = createRequire(import.meta.url).resolve(`onnxruntime-web/${RUNTIME}`);
await cp(runtime, path.join(DIST, RUNTIME));
const python = process.env.PYTHON ?? "python";
execFileSync(python, [path.join(HERE, "write_files.py"), DIST, ...process.argv.slice(2)], { stdio: "inherit" });

const wasm = await readFile(runtime);
const facts = { file: RUNTIME, bytes: wasm.length, sha: hash(wasm) };
await bundle("worker");
await bundle("main", { RUNTIME: JSON.stringify(facts) });
const pages = await Promise.all(PAGE.slice(1).map((name) => readFile(path.join(DIST, name))));
const version = hash(Buffer.concat(pages));
await bundle("sw", { FILES: JSON.stringify(PAGE), VERSION: JSON.stringify(version) });
console.log(`${DIST}: version ${version}`);
