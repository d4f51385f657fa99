/**
 * Measures one implementation of WebGPU in a process of its own, for `bench/gpu.ts`: prints a line of JSON for each figure.
 *
 *     deno run -A bench/gpu/measure.ts [--gpu dawn] [--seconds 180]
 *
 * On a software adapter all sizes are small: that tries the program, its figures mean nothing.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { launchAttentionBackward } from "../../kernels/attention/attention_backward.ts";
import { attentionForward } from "../../kernels/attention/attention_forward.ts";
import { attentionParams } from "../../kernels/attention/attention.ts";
import { matmul } from "../../kernels/gemm/matmul.ts";
import { matmulParams } from "../../kernels/gemm/params.ts";
import {
  AdamW,
  add,
  cast,
  clipGradNorm,
  type DType,
  formatTimings,
  generate,
  GPT2,
  LossScaler,
  randn,
  RandomState,
  readTensors,
  Scope,
  Tensor,
  tensor,
  WebGpuDevice,
} from "../../mod.ts";
import { peakOf } from "./peaks.ts";

/** One figure. */
export interface Figure {
  readonly section: string;
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** Share of the card's peak, where that is known. */
  readonly share?: number;
  /** What else there is to know. */
  readonly note?: string;
}

const { values } = parseArgs({
  options: { gpu: { type: "string" }, seconds: { type: "string", default: "180" } },
});
const device = await WebGpuDevice.open(values.gpu === "dawn" ? { gpu: "dawn" } : {});
const small = device.software;
const peak = peakOf([device.description, ...await names()].join(" "));
const until = performance.now() + 1000 * Number(values.seconds);
const GPT = small
  ? { vocabSize: 512, context: 64, width: 64, layers: 2, heads: 2 }
  : { vocabSize: 50304, context: 1024, width: 768, layers: 12, heads: 12 };

print({ section: "adapter", name: device.description, value: 1, unit: "", note: capabilities() });
const sections: [name: string, run: () => Promise<void>][] = [
  ["memory", bandwidth],
  ["launches", launches],
  ["matrix products", products],
  ["attention", attention],
  ["training step of GPT-2 124M", steps],
  ["decoding with GPT-2 124M", decoding],
];
for (const [name, run] of sections) {
  if (performance.now() > until) {
    print({ section: name, name: "left out", value: 0, unit: "", note: "no time left" });
    continue;
  }
  try {
    await run();
  } catch (error) {
    const note = error instanceof Error ? error.message.slice(0, 500) : String(error);
    print({ section: name, name: "failed", value: 0, unit: "", note });
  }
}
Deno.exit(0);

function print(figure: Figure): void {
  console.log(JSON.stringify(figure));
}

function capabilities(): string {
  const { dtypes, subgroups, matrixUnits, maxBindingBytes } = device;
  return `${[...dtypes].join(" ")}${subgroups ? ", subgroups" : ""}${
    matrixUnits ? ", matrix units" : ""
  }, bindings of ${Math.round(maxBindingBytes / 2 ** 20)} MiB`;
}

/** The names of NVIDIA's cards: Dawn tells only the driver's. */
async function names(): Promise<string[]> {
  try {
    const args = ["--query-gpu=name", "--format=csv,noheader"];
    const { stdout } = await new Deno.Command("nvidia-smi", { args, stderr: "null" }).output();
    return new TextDecoder().decode(stdout).trim().split("\n");
  } catch {
    return [];
  }
}

/** Milliseconds of a launch on the device, by its timestamps: the mean of several after a first one. */
async function timed(launch: () => void, times = small ? 1 : 8): Promise<number> {
  launch();
  await device.synchronize();
  device.profile(true);
  for (let i = 0; i < times; i++) launch();
  const timings = await device.timings();
  device.profile(false);
  return timings.reduce((sum, { milliseconds }) => sum + milliseconds, 0) / times;
}

function flops(section: string, name: string, count: number, ms: number, most?: number): void {
  const value = count / ms / 1e9;
  const share = most && value / most;
  print({ section, name, value, unit: "TFLOP/s", share, note: `${ms.toFixed(3)} ms` });
}

async function bandwidth(): Promise<void> {
  using _scope = new Scope();
  const x = randn([small ? 2 ** 16 : 2 ** 28], { device });
  const ms = await timed(() => add(x, 1).dispose());
  const value = 2 * 4 * x.size / ms / 1e9;
  const name = `x + 1 of ${x.size * 4 / 2 ** 20} MiB`;
  print({ section: "memory", name, value, unit: "TB/s", share: peak && value / peak.bandwidth });
}

async function launches(): Promise<void> {
  using _scope = new Scope();
  const x = randn([256], { device });
  const count = small ? 200 : 2000;
  for (const waits of [false, true]) {
    await device.synchronize();
    const start = performance.now();
    for (let i = 0; i < (waits ? 20 : count); i++) {
      add(x, 1).dispose();
      if (waits) await readTensors([x]);
    }
    await device.synchronize();
    const value = (performance.now() - start) / (waits ? 20 : count) * 1e3;
    print({ section: "launches", name: waits ? "launch and read" : "launch", value, unit: "us" });
  }
}

async function products(): Promise<void> {
  // deno-fmt-ignore
  const shapes = small ? [[64, 64, 64, 0, 1]] : [
    [512, 512, 512, 0, 0], [1024, 1024, 1024, 0, 0], [2048, 2048, 2048, 0, 0], [4096, 4096, 4096, 0, 0], [8192, 8192, 8192, 0, 0],
    // Of a step with 8 x 1024 tokens: forward, gradients of inputs and of weights, the head.
    [8192, 2304, 768, 0, 0], [8192, 768, 768, 0, 0], [8192, 3072, 768, 0, 0], [8192, 768, 3072, 0, 0],
    [8192, 768, 2304, 0, 1], [768, 2304, 8192, 1, 0], [768, 768, 8192, 1, 0], [768, 3072, 8192, 1, 0],
    [2048, 50304, 768, 0, 1], [2048, 768, 50304, 0, 0], [50304, 768, 2048, 1, 0],
  ];
  for (const dtype of ["f32", "f16"] as const) {
    if (!device.dtypes.has(dtype)) continue;
    const most = dtype === "f16" && device.matrixUnits ? peak?.matrix : peak?.f32;
    for (const [m, n, k, transposeA, transposeB] of shapes) {
      using _scope = new Scope();
      const random = (rows: number, columns: number) =>
        cast(randn([rows, columns], { device }), dtype);
      const a = transposeA ? random(k, m) : random(m, k),
        b = transposeB ? random(n, k) : random(k, n);
      const c = Tensor.empty(device, [m, n], dtype);
      const params = matmulParams({ m, n, k, transposeA, transposeB });
      const ms = await timed(() => device.launch(matmul, { a, b, c }, params));
      const marks = `${transposeA ? " a^T" : ""}${transposeB ? " b^T" : ""}`;
      flops("matrix products", `${dtype} ${m} x ${n} x ${k}${marks}`, 2 * m * n * k, ms, most);
    }
  }
}

async function attention(): Promise<void> {
  for (
    const [batch, heads, time, d] of small
      ? [[1, 2, 64, 32]]
      : [[8, 12, 1024, 64], [2, 16, 2048, 128]]
  ) {
    for (const dtype of ["f32", "f16"] as const) {
      if (!device.dtypes.has(dtype)) continue;
      using _scope = new Scope();
      const shape = [batch, heads, time, d];
      const [q, k, v, dO] = Array.from({ length: 4 }, () => cast(randn(shape, { device }), dtype));
      const [o, dQ, dK, dV] = Array.from({ length: 4 }, () => Tensor.empty(device, shape, dtype));
      const lse = Tensor.empty(device, [2, batch, heads, time]);
      const params = attentionParams({ batch, heads, queries: time, keys: time, d, step: 1 });
      const forward = () => device.launch(attentionForward, { q, k, v, o, lse }, params);
      const backward = () =>
        launchAttentionBackward(device, { q, k, v, o, dO, lse, dQ, dK, dV }, params);
      // Causal: half of the products, two forward and five backward, count.
      const product = batch * heads * time * time * d;
      const name = `${dtype} ${batch} x ${heads} x ${time} x ${d}`;
      flops("attention", `${name} forward`, 2 * product, await timed(forward), peak?.f32);
      flops("attention", `${name} backward`, 5 * product, await timed(backward), peak?.f32);
    }
  }
}

async function steps(): Promise<void> {
  const runs: [DType, number][] = small
    ? [["f32", 1], ["f16", 1]]
    : [["f32", 8], ["f16", 8], ["f16", 32]];
  for (const [dtype, batch] of runs) {
    if (device.dtypes.has(dtype)) await step(dtype, batch);
  }
}

/** Tokens/s of whole steps; the numbers of one are read while the next one runs. */
async function step(dtype: DType, batch: number): Promise<void> {
  const { context, vocabSize, layers, width } = GPT;
  const model = newModel(dtype);
  const parameters = model.parameters();
  using optimizer = new AdamW(parameters, { lr: 3e-4, betas: [0.9, 0.95], weightDecay: 0.1 });
  using scaler = dtype === "f16" ? new LossScaler(device) : undefined;
  const shape = [batch, context];
  const tokens = Int32Array.from(
    { length: batch * context + 1 },
    (_, i) => (i * 7919 + (i >> 5) * 31) % vocabSize,
  );
  const losses: Promise<Float32Array[]>[] = [];
  const next = () => {
    using _scope = new Scope();
    const ids = tensor(tokens.slice(0, -1), { shape, device });
    const loss = model.loss(ids, tensor(tokens.slice(1), { shape, device }));
    loss.backward(scaler?.scale);
    const { factor } = clipGradNorm(parameters, 1, { scaler });
    optimizer.step({ gradScale: factor });
    scaler?.update(factor);
    optimizer.zeroGrad();
    losses.push(readTensors([loss]) as Promise<Float32Array[]>);
  };
  const count = small ? 2 : 10;
  for (let i = 0; i < 3; i++) next();
  await device.synchronize();
  device.resetPeak();
  const start = performance.now();
  let host = 0;
  for (let i = 0; i < count; i++) {
    const from = performance.now();
    next();
    host += performance.now() - from;
    await losses.at(-2);
  }
  await losses.at(-1);
  const ms = (performance.now() - start) / count;
  const size = Object.values(parameters).reduce((sum, { size }) => sum + size, 0);
  const perToken = 6 * size + 6 * layers * width * context; // causal attention counts half
  const most = dtype === "f16" && device.matrixUnits ? peak?.matrix : peak?.f32;
  const section = "training step of GPT-2 124M";
  const last = (await Promise.all(losses)).map(([loss]) => loss[0].toFixed(3)).join(" ");
  print({
    section,
    name: `${dtype} ${batch} x ${context}`,
    value: batch * context / ms * 1e3,
    unit: "tokens/s",
    share: most && perToken * batch * context / ms / 1e9 / most,
    note: `${ms.toFixed(1)} ms, host ${(host / count).toFixed(1)} ms, peak ${
      (device.memory().peak / 2 ** 30).toFixed(2)
    } GiB, losses ${last}`,
  });
  device.profile(true);
  next();
  const timings = await device.timings();
  device.profile(false);
  await losses.at(-1);
  console.error(formatTimings(timings));
  model.dispose();
  device.releasePooled();
}

async function decoding(): Promise<void> {
  for (const dtype of ["f32", "f16"] as const) {
    if (!device.dtypes.has(dtype)) continue;
    const model = newModel(dtype);
    for (const batch of [1, 16]) {
      const prompts = Array.from({ length: batch }, (_, b) => Int32Array.of(1, 2, 3, b));
      const length = small ? 8 : 128;
      await generate(model, prompts, { length: 8, temperature: 0 });
      const start = performance.now();
      await generate(model, prompts, { length, temperature: 0 });
      const value = batch * length / (performance.now() - start) * 1e3;
      const name = `${dtype}, batch ${batch}`;
      print({ section: "decoding with GPT-2 124M", name, value, unit: "tokens/s" });
    }
    model.dispose();
  }
}

function newModel(dtype: DType): GPT2 {
  const sizes = {
    vocabSize: GPT.vocabSize,
    maxPositionEmbeddings: GPT.context,
    hiddenSize: GPT.width,
    numHiddenLayers: GPT.layers,
    numAttentionHeads: GPT.heads,
  };
  return new GPT2(sizes, { device, dtype, random: new RandomState(1) });
}
