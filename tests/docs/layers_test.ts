// Holds the imports between files to the table of layers in ARCHITECTURE.md: none from a higher layer, no cycle.
import assert from "node:assert/strict";
import { dirname, join, relative } from "node:path/posix";

const root = new URL("../../", import.meta.url).pathname;
const ASIDE = -1;

Deno.test("no file imports from a higher layer", () => {
  assert.deepEqual(wrongEdges(importsOf(sourceFiles()), layersOf(architecture())), []);
});

Deno.test("files import each other in no cycle", () => {
  assert.deepEqual(cyclesOf(importsOf(sourceFiles())), []);
});

Deno.test("an import from a higher layer is found and named", () => {
  const layers = layersOf(
    "| 1 | `kernels/` | |\n| 0 | `src/device/`, `kernels/wasm/` | |\n| aside | `src/io/` | |",
  );
  const graph = new Map([
    ["src/device/cpu.ts", [
      "kernels/wasm/compiled.ts",
      "src/io/json.ts",
      "kernels/rows/softmax.ts",
    ]],
    ["kernels/rows/softmax.ts", ["src/device/kernel.ts"]],
    ["src/io/json.ts", ["src/device/dtype.ts"]],
    ["src/new/file.ts", []],
  ]);
  assert.deepEqual(wrongEdges(graph, layers), [
    "src/device/cpu.ts (layer 0) imports kernels/rows/softmax.ts (layer 1)",
    "src/io/json.ts (layer aside) imports src/device/dtype.ts (layer 0)",
    "src/new/file.ts: its folder is in no layer of ARCHITECTURE.md",
  ]);
});

Deno.test("a cycle is found and named, however long", () => {
  const graph = new Map([["a", ["b"]], ["b", ["c", "d"]], ["c", ["a"]], ["d", ["d2"]], ["d2", []]]);
  assert.deepEqual(cyclesOf(graph), ["a -> b -> c -> a"]);
});

type Graph = ReadonlyMap<string, readonly string[]>;

function architecture(): string {
  return Deno.readTextFileSync(`${root}ARCHITECTURE.md`);
}

/** The layer of every folder (or file) in the table: a number, the lowest 0, or `ASIDE`. */
function layersOf(page: string): Map<string, number> {
  const layers = new Map<string, number>();
  for (const [, layer, folders] of page.matchAll(/^\| (\d+|aside) \| ([^|]*) \|/gm)) {
    for (const [, folder] of folders.matchAll(/`([^`]+)`/g)) {
      layers.set(folder, layer === "aside" ? ASIDE : Number(layer));
    }
  }
  return layers;
}

/** TypeScript files below the folders that hold the library and its programs. */
function sourceFiles(): string[] {
  const list = (folder: string): string[] =>
    [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) => {
      const path = join(folder, name);
      if (isDirectory) return list(path);
      return name.endsWith(".ts") && !name.endsWith(".as.ts") ? [relative(root, path)] : [];
    });
  const folders = ["src", "kernels", "data", "examples", "bench", "tools"];
  return ["mod.ts", ...folders.flatMap((folder) => list(join(root, folder)))].sort();
}

/** What every file imports or re-exports, types and dynamic imports included. */
function importsOf(files: readonly string[]): Graph {
  return new Map(files.map((file) => {
    const code = Deno.readTextFileSync(join(root, file)).replace(/^\s*\/\*\*[^]*?\*\//gm, "");
    const imports = [...code.matchAll(/\b(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)]
      .map(([, specifier]) => join(dirname(file), specifier));
    return [file, [...new Set(imports)].filter((path) => /\.[jt]s$/.test(path))];
  }));
}

/** The longest entry of the table that a file is in; undefined where there is none. */
function layerOf(file: string, layers: ReadonlyMap<string, number>): number | undefined {
  const folders = [...layers.keys()].filter((folder) => file === folder || file.startsWith(folder));
  return layers.get(folders.sort((a, b) => b.length - a.length)[0]);
}

function wrongEdges(graph: Graph, layers: ReadonlyMap<string, number>): string[] {
  const name = (layer: number) => `layer ${layer === ASIDE ? "aside" : layer}`;
  return [...graph].flatMap(([file, imports]) => {
    const own = layerOf(file, layers);
    if (own === undefined) return [`${file}: its folder is in no layer of ARCHITECTURE.md`];
    return imports.flatMap((imported) => {
      const other = layerOf(imported, layers);
      if (other === undefined) {
        return [`${file} imports ${imported}, whose folder is in no layer of ARCHITECTURE.md`];
      }
      return other > own ? [`${file} (${name(own)}) imports ${imported} (${name(other)})`] : [];
    });
  });
}

/** One cycle for each file at which a walk along the imports comes back to a file that it is still in. */
function cyclesOf(graph: Graph): string[] {
  const done = new Set<string>();
  const path: string[] = [];
  const walk = (file: string): string[] => {
    const start = path.indexOf(file);
    if (start >= 0) return [[...path.slice(start), file].join(" -> ")];
    if (done.has(file)) return [];
    path.push(file);
    const cycles = (graph.get(file) ?? []).flatMap(walk);
    path.pop();
    done.add(file);
    return cycles;
  };
  return [...graph.keys()].flatMap(walk);
}
