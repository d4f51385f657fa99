/**
 * Measures this machine's GPU in under 8 minutes: matrix products, attention, memory, launches, a training step of GPT-2 124M,
 * decoding and the golden tests, over Deno's own WebGPU and over Dawn, with PyTorch beside it where it is installed.
 *
 *     deno task bench:gpu [--gpu wgpu|dawn] [--json FILE]
 *
 * Prints a table as it goes, and writes all figures to a JSON file. On a software adapter all sizes are small: that tries the
 * program, its figures mean nothing.
 *
 * @module
 */
import { parseArgs } from "node:util";
import type { Figure } from "./gpu/measure.ts";

/** Seconds for the figures of one implementation. */
const SECONDS = 120;

const { values } = parseArgs({ options: { gpu: { type: "string" }, json: { type: "string" } } });
if (values.gpu && !["wgpu", "dawn"].includes(values.gpu)) {
  console.error(`--gpu: expected wgpu or dawn but got ${values.gpu}`);
  Deno.exit(2);
}
const here = (path: string) => new URL(path, import.meta.url).pathname;
const results: Record<string, readonly Figure[]> = {};
for (const gpu of values.gpu ? [values.gpu] : ["wgpu", "dawn"]) {
  console.log(`\n${gpu === "dawn" ? "Dawn (npm:webgpu)" : "Deno's own WebGPU (wgpu)"}`);
  results[gpu] = [...await measure(gpu), await golden(gpu)];
}
console.log("\nPyTorch");
results.torch = await torch();
const file = values.json ?? `bench-gpu-${new Date().toISOString().slice(0, 10)}.json`;
await Deno.writeTextFile(file, JSON.stringify(results, null, 1) + "\n");
console.log(`\nall figures: ${file}`);

/** Figures of an implementation, printed as they come. */
async function measure(gpu: string): Promise<Figure[]> {
  const args = ["run", "-A", here("gpu/measure.ts"), "--seconds", String(SECONDS)];
  if (gpu === "dawn") args.push("--gpu", "dawn");
  return await figuresOf(Deno.execPath(), args);
}

/** Whether the golden tests pass on the GPU. */
async function golden(gpu: string): Promise<Figure> {
  const args = ["test", "-A", "--no-check", here("../tests/golden_test.ts")];
  const env: Record<string, string> = { DINOGRAD_REQUIRE_WEBGPU: "1", NO_COLOR: "1" };
  if (gpu === "dawn") env.DINOGRAD_GPU = "dawn";
  const { stdout } = await new Deno.Command(Deno.execPath(), { args, env, stderr: "null" })
    .output();
  const [, passed = "0", failed = "all"] =
    /(\d+) passed.*?(\d+) failed/.exec(new TextDecoder().decode(stdout)) ?? [];
  const figure: Figure = {
    section: "golden tests",
    name: "passed",
    value: Number(passed),
    unit: "",
    note: `${failed} failed`,
  };
  print(figure);
  return figure;
}

/** PyTorch's tokens/s of the same training step; nothing where it is not installed or has no GPU. */
async function torch(): Promise<Figure[]> {
  try {
    return await figuresOf("python3", [here("gpu/torch_gpt.py")]);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    console.log("  not installed");
    return [];
  }
}

/** The lines of JSON that a program prints. */
async function figuresOf(command: string, args: string[]): Promise<Figure[]> {
  const child = new Deno.Command(command, { args, stdout: "piped", stderr: "inherit" }).spawn();
  const figures: Figure[] = [];
  let rest = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      if (!line.startsWith("{")) continue;
      const figure: Figure = JSON.parse(line);
      figures.push(figure);
      print(figure);
    }
  }
  const { code } = await child.status;
  if (code !== 0) console.log(`  ended with code ${code}`);
  return figures;
}

function print({ section, name, value, unit, share, note }: Figure): void {
  const number = value >= 1000 ? Math.round(value).toLocaleString("en") : value.toPrecision(4);
  const percent = share === undefined ? "" : `${(100 * share).toFixed(0)} %`;
  console.log(
    `  ${section.padEnd(28)} ${name.padEnd(30)} ${number.padStart(10)} ${unit.padEnd(9)} ${
      percent.padStart(5)
    }  ${note ?? ""}`,
  );
}
