// Builds dist/cli.js for Node and dist/pef-verify.html, one file, for a browser; with --tests also build/test.
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const common = { bundle: true, charset: "utf8", legalComments: "none", logLevel: "warning", target: "es2022" };
const node = { ...common, format: "esm", platform: "node", target: "node20" };

await build({
  ...node,
  entryPoints: ["src/node/cli.ts"],
  outfile: "dist/cli.js",
  banner: { js: "#!/usr/bin/env node" },
});

const page = await build({ ...common, format: "iife", platform: "browser", minify: true, write: false, entryPoints: ["page/page.ts"] });
const script = page.outputFiles[0].text.trim().replaceAll("</script", "<\\/script");
const style = readFileSync("page/page.css", "utf8").trim();
// The policy lets exactly this script and this style run, and nothing reach a network.
const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
const policy = `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; base-uri 'none'; form-action 'none'`;
const html = readFileSync("page/page.html", "utf8")
  .replace("{{policy}}", () => policy)
  .replace("{{style}}", () => style)
  .replace("{{script}}", () => script);
mkdirSync("dist", { recursive: true });
writeFileSync("dist/pef-verify.html", html);

if (process.argv.includes("--tests")) {
  await build({
    ...node,
    entryPoints: readdirSync("test").filter((name) => name.endsWith(".test.ts")).map((name) => `test/${name}`),
    outdir: "build/test",
    packages: "external",
  });
}
