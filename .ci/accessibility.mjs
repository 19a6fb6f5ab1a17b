// node .ci/accessibility.mjs SITE MODULES BROWSER [FOLDER]: the built site in a headless browser.
//
// axe-core on pages of each kind, light and dark; every page with mathematics is set by MathJax without an
// error; no page is wider than a narrow window. With FOLDER, pictures of some pages are written there.
import { createRequire } from "node:module";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [site, modules, executablePath, pictures] = process.argv.slice(2).map((p) => resolve(p));
const require = createRequire(pathToFileURL(join(modules, "x.js")));
const puppeteer = (await import(pathToFileURL(require.resolve("puppeteer-core")))).default;
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const OF_EACH_KIND = [
  "index", "gallery", "questions", "sound", "studies/README", "studies/priors", "math/quantize", "math/attention",
  "more/one_page", "crosscheck-variants", "benchmarks/products", "api/index", "api/vqnp.nn", "api/ops/quantize",
  "source/vqnp/ops/quantize.py", "genindex", "search",
].map((name) => `${name}.html`);
const PICTURED = ["index", "math/quantize", "api/ops/quantize", "gallery", "studies/README"].map((n) => `${n}.html`);
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];
const NARROW = 390, WIDE = 1280;

const everything = readdirSync(site, { recursive: true }).map(String).filter((name) => name.endsWith(".html"));
const withMath = everything.filter((name) => !name.startsWith("source") && !name.startsWith("_"))
  .filter((name) => readFileSync(join(site, name), "utf8").includes("mathjax/tex-chtml"));

const browser = await puppeteer.launch({ executablePath, args: ["--no-sandbox", "--allow-file-access-from-files"] });
const page = await browser.newPage();
const failures = [];

async function open(name, width, theme = "light") {
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
  await page.goto(pathToFileURL(join(site, name)).href, { waitUntil: "load", timeout: 120_000 });
  await page.evaluate(() => window.MathJax?.startup?.promise);
  await new Promise((done) => setTimeout(done, 100)); // for site.js, which waits for MathJax, too
}

for (const name of withMath) {
  await open(name, NARROW);
  const errors = await page.evaluate(() => [...document.querySelectorAll("mjx-merror")].map((e) => e.title || e.textContent));
  for (const error of errors) failures.push(`${name}: MathJax: ${error}`);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  if (over > 1) failures.push(`${name}: ${over} pixels wider than a window of ${NARROW}`);
}
for (const name of OF_EACH_KIND) {
  for (const theme of ["light", "dark"]) {
    await open(name, WIDE, theme);
    await page.evaluate(axe);
    const found = await page.evaluate((values) => axe.run(document, { runOnly: { type: "tag", values } }), RULES);
    for (const { id, help, nodes } of found.violations) {
      failures.push(`${name} (${theme}): ${id}: ${help}: ${nodes.length} times, first ${nodes[0].target}: ${nodes[0].html.slice(0, 120)}`);
    }
  }
}
if (pictures) {
  mkdirSync(pictures, { recursive: true });
  for (const name of PICTURED) {
    for (const [theme, width] of [["light", WIDE], ["dark", WIDE], ["light", NARROW]]) {
      await open(name, width, theme);
      const path = join(pictures, `${relative(".", name).replaceAll("/", "-").replace(".html", "")}-${theme}-${width}.png`);
      await page.screenshot({ path });
    }
  }
}
await browser.close();
console.log(failures.join("\n"));
console.log(`${withMath.length} pages with mathematics, axe-core on ${OF_EACH_KIND.length}: ${failures.length} failures`);
process.exit(failures.length ? 1 : 0);
