/**
 * Compiles the AssemblyScript kernels of this folder to WebAssembly, in `compiled.ts`.
 *
 *   deno run -A kernels/wasm/build.ts           rebuild
 *   deno run -A kernels/wasm/build.ts --check   fail if the committed bytes are not what the sources give
 *
 * The compiler (about 100 MB from npm) is only needed here: the library loads the committed bytes.
 */
import asc from "npm:assemblyscript@0.28.20/asc";

const folder = new URL("./", import.meta.url).pathname;

const files = new Map<string, Uint8Array>();
const { error, stderr } = await asc.main([
  "kernels.as.ts",
  "--baseDir",
  folder,
  "--outFile",
  "kernels.wasm",
  // Not -O3, which regroups the unrolled multiply-adds of the matrix product and costs a quarter of its speed.
  "-O2",
  "--noAssert",
  "--runtime",
  "stub",
  "--enable",
  "simd,relaxed-simd,threads",
  "--importMemory",
  "--sharedMemory",
  "--initialMemory",
  "1",
  "--maximumMemory",
  "65536",
  // The job descriptor of the thread pool is below.
  "--memoryBase",
  "4096",
], {
  writeFile(name: string, contents: Uint8Array | string) {
    files.set(name, typeof contents === "string" ? new TextEncoder().encode(contents) : contents);
  },
});
if (error) {
  console.error(stderr.toString());
  Deno.exit(1);
}
const wasm = files.get("kernels.wasm")!;
const path = `${folder}compiled.ts`;
// A module and not a .wasm file: bundlers and browsers do not support `import source`, and reading a file or a URL
// needs a permission.
const built = `// Made by build.ts from *.as.ts. deno-fmt-ignore-file
/** The WebAssembly of the kernels in base64. */
export const KERNELS =
  "${wasm.toBase64()}";
`;
if (Deno.args.includes("--check")) {
  if (Deno.readTextFileSync(path) !== built) {
    console.error("kernels/wasm/compiled.ts is not what its sources compile to: run build.ts");
    Deno.exit(1);
  }
  console.log(`compiled.ts is up to date (${wasm.length} bytes of WebAssembly)`);
} else {
  Deno.writeTextFileSync(path, built);
  console.log(`compiled.ts: ${wasm.length} bytes of WebAssembly`);
}
