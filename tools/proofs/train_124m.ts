/**
 * Proof: GPT-2 124M trains three optimizer steps of 1 x 256 tokens of Moby Dick on the CPU device and on WebGPU with
 * bindings of 128 MiB at most, with and without recomputation: the same losses to 1e-4, and the peak memory that
 * `gpt2TrainingMemory` (docs/MEMORY.md) tells. Every run is a process of its own. `deno task proof:124m`; some minutes and
 * 5 GiB of memory. Exits with 1 where something does not hold.
 */
import {
  AdamW,
  batchTensors,
  checkGradNorm,
  clipGradNorm,
  CpuDevice,
  formatTable,
  GPT2,
  GPT2Tokenizer,
  gpt2TrainingMemory,
  loadMobyDick,
  openProgress,
  RandomState,
  readTensors,
  Scope,
  TokenLoader,
  WebGpuDevice,
} from "../../mod.ts";

const CONFIG = {
  vocabSize: 50304,
  maxPositionEmbeddings: 1024,
  hiddenSize: 768,
  numHiddenLayers: 12,
  numAttentionHeads: 12,
};
const CONTEXT = 256, STEPS = 3;
const MAX_BINDING_BYTES = 128 * 2 ** 20;
const TOLERANCE = 1e-4, MEMORY_TOLERANCE = 0.05;

/** What one process found. */
interface Result {
  readonly device: string;
  readonly recompute: boolean;
  readonly losses: readonly number[];
  readonly peak: number;
  readonly resident: number;
  readonly secondsPerStep: number;
}

if (Deno.args[0] === "child") {
  console.log("\n" + JSON.stringify(await train(Deno.args[1], Deno.args[2] === "true")));
} else {
  Deno.exit(await compare() ? 0 : 1);
}

async function compare(): Promise<boolean> {
  const results: Result[] = [];
  for (const kind of ["cpu", "webgpu"]) {
    for (const recompute of [false, true]) {
      const { code, stdout } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", import.meta.filename!, "child", kind, String(recompute)],
        env: { DENO_WEBGPU_BACKEND: "vulkan" },
        stderr: "inherit",
      }).output();
      if (code !== 0) throw new Error(`${kind}: the process ended with ${code}`);
      const result: Result = JSON.parse(
        new TextDecoder().decode(stdout).trim().split("\n").at(-1)!,
      );
      console.log(`${result.device}${recompute ? ", recompute" : ""}: ${result.losses.join(" ")}`);
      results.push(result);
    }
  }
  const expected = (recompute: boolean) =>
    gpt2TrainingMemory(CONFIG, { batch: 1, context: CONTEXT, recompute }).total;
  const lossError = Math.max(
    ...results.flatMap(({ losses }) =>
      losses.map((loss, i) => Math.abs(loss - results[0].losses[i]))
    ),
  );
  const memoryError = Math.max(
    ...results.map(({ peak, recompute }) => Math.abs(peak / expected(recompute) - 1)),
  );
  console.log(formatTable(
    results.map(({ device, recompute, losses, peak, resident, secondsPerStep }) => ({
      device,
      recompute: recompute ? "yes" : "no",
      first: losses[0],
      last: losses[STEPS - 1],
      peak: peak / 2 ** 20,
      formula: expected(recompute) / 2 ** 20,
      resident: resident / 2 ** 20,
      seconds: secondsPerStep,
    })),
    [
      { key: "device" },
      { key: "recompute" },
      { key: "first", title: "loss of step 1", digits: 6 },
      { key: "last", title: `of step ${STEPS}`, digits: 6 },
      { key: "peak", title: "peak memory, MiB", digits: 0 },
      { key: "formula", title: "by the formula", digits: 0 },
      { key: "resident", title: "whole process", digits: 0 },
      { key: "seconds", title: "s a step", digits: 1 },
    ],
  ));
  const isLearning = results.every(({ losses }) => losses[STEPS - 1] < losses[0]);
  console.log(
    `losses differ by ${
      lossError.toExponential(1)
    } at most (aim ${TOLERANCE}), memory from the formula by ` +
      `${(100 * memoryError).toFixed(1)} % (aim ${100 * MEMORY_TOLERANCE} %)` +
      (isLearning ? "" : "; the loss does not fall"),
  );
  return lossError < TOLERANCE && memoryError < MEMORY_TOLERANCE && isLearning;
}

async function train(kind: string, recompute: boolean): Promise<Result> {
  using device = kind === "cpu"
    ? CpuDevice.open()
    : await WebGpuDevice.open({ limits: { maxStorageBufferBindingSize: MAX_BINDING_BYTES } });
  const tokens = Uint16Array.from(new GPT2Tokenizer().encodeOrdinary(await loadMobyDick()));
  await using loader = await TokenLoader.open(tokens, { batchSize: 1, contextSize: CONTEXT });
  const model = new GPT2(CONFIG, { device, random: new RandomState(1337) });
  const parameters = model.parameters();
  using optimizer = new AdamW(parameters, { betas: [0.9, 0.95], weightDecay: 0.1 });
  using progress = await openProgress({ label: device.description, total: STEPS, unit: "steps" });
  const losses: number[] = [];
  let started = performance.now();
  for (let step = 1; step <= STEPS; step++) {
    if (step === 2) started = performance.now(); // the first one compiles
    using _scope = new Scope();
    const { ids, targets } = batchTensors(await loader.next(), [1, CONTEXT], device);
    const loss = model.loss(ids, targets, { recompute });
    loss.backward();
    const { norm, factor } = clipGradNorm(parameters, 1);
    optimizer.step({ lr: 3e-4, gradScale: factor });
    const [[value], [gradNorm]] = await readTensors([loss, norm]);
    await checkGradNorm(gradNorm, parameters);
    optimizer.zeroGrad();
    losses.push(value);
    progress.update(step);
  }
  return {
    device: device.description,
    recompute,
    losses,
    peak: device.memory().peak,
    resident: await peakResident(),
    secondsPerStep: (performance.now() - started) / 1000 / (STEPS - 1),
  };
}

/** The most memory that this process has had, where the system tells: Linux. */
async function peakResident(): Promise<number> {
  if (Deno.build.os !== "linux") return Deno.memoryUsage().rss;
  const [, kilobytes] = /VmHWM:\s+(\d+) kB/.exec(await Deno.readTextFile("/proc/self/status"))!;
  return Number(kilobytes) * 1024;
}
