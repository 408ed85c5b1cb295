// Runs the page's TypeScript in Node: bundles what a driver imports, then imports the bundle.
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const WEB = fileURLToPath(new URL("../../web/", import.meta.url));

export async function load(...modules) {
  const require = createRequire(path.join(WEB, "package.json"));
  const { build } = require("esbuild");
  const folder = await mkdtemp(path.join(WEB, "node_modules", ".test-"));
  const outfile = path.join(folder, "bundle.mjs");
  const contents = modules.map((name) => `export * from "./${name}.ts";`).join("\n");
  try {
    await build({
      stdin: { contents, resolveDir: path.join(WEB, "src") },
      bundle: true,
      format: "esm",
      platform: "node",
      packages: "external",
      outfile,
    });
    return await import(pathToFileURL(outfile).href);
  } finally {
    await rm(folder, { recursive: true });
  }
}
