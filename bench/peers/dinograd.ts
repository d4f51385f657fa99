/**
 * dinograd itself: the matrix product, the GPT's training step and its greedy decoding.
 * `deno run dinograd.ts cpu|webgpu`, driven by `contender.ts`; without `--allow-ffi` the CPU device has only
 * its WASM kernels.
 */
import {
  AdamW,
  assign,
  clipGradNorm,
  formatTimings,
  generate,
  GPT2,
  matmul,
  noGrad,
  openDevice,
  readTensors,
  reshape,
  sample,
  Scope,
  setDefaultDevice,
  type Tensor,
  tensor,
} from "../../mod.ts";
import { median } from "./contender.ts";
import { serve, type Work } from "./serve.ts";
import {
  ADAMW,
  BATCH,
  DECODE,
  GPT,
  initialParameters,
  type Parameter,
  prompts,
  randomMatrix,
  trainingTokens,
} from "./workload.ts";

const kind = Deno.args[0] === "webgpu" ? "webgpu" : "cpu";
const device = await openDevice({ kind, log: false });
setDefaultDevice(device);

await serve(`dinograd, ${device.description}`, { matmul: product, train, decode });

function product(n: number): Work {
  const [a, b] = [1, 2].map((seed) => tensor(randomMatrix(n, seed), { shape: [n, n] }));
  return {
    async run(repeats) {
      for (let i = 0; i < repeats; i++) matmul(a, b).dispose();
      await device.synchronize();
    },
    dispose: () => [a, b].forEach((x) => x.dispose()),
  };
}

/** The GPT with the weights that all contenders have. */
function createModel(): GPT2 {
  const model = new GPT2({
    vocabSize: GPT.vocab,
    maxPositionEmbeddings: GPT.context,
    hiddenSize: GPT.embed,
    numHiddenLayers: GPT.layers,
    numAttentionHeads: GPT.heads,
  });
  if (model.parameterCount() !== 7_487_232) throw new Error(`${model.parameterCount()} parameters`);
  const values = ownParameters();
  for (const [name, parameter] of model.parameters()) assign(parameter, values.get(name)!);
  return model;
}

/** Forward, backward, clipping and AdamW. */
async function train(): Promise<Work> {
  const model = createModel();
  const parameters = model.parameters();
  const { lr, beta1, beta2, eps, weightDecay } = ADAMW;
  const optimizer = new AdamW(parameters, { lr, betas: [beta1, beta2], eps, weightDecay });
  const tokens = trainingTokens();
  const shape = [BATCH, GPT.context];
  const [ids, targets] = [tokens.ids, tokens.targets].map((data) => tensor(data, { shape }));
  const losses: number[] = [];
  const step = async (): Promise<void> => {
    using _step = new Scope();
    const loss = model.loss(ids, targets);
    loss.backward();
    // A norm that is never reached: the peers, whose losses must come out, do not clip.
    const { norm, factor } = clipGradNorm(parameters, 1e3);
    optimizer.step({ gradScale: factor });
    optimizer.zeroGrad();
    const [[value]] = await readTensors([loss, norm]);
    losses.push(value);
  };
  await device.synchronize();
  return {
    async run(repeats) {
      for (let i = 0; i < repeats; i++) await step();
    },
    async report() {
      // One more step for warmth, as profiling may compile other programs.
      device.profile(true);
      await step();
      device.profile(true);
      await step();
      const timings = formatTimings(await device.timings());
      device.profile(false);
      return { losses: losses.slice(0, 3), timings, peak: device.memory().peak };
    },
  };
}

/** Greedy decoding on a cache. */
function decode(batch: number): Work {
  const model = createModel();
  const rows = prompts(batch);
  const greedy = { length: DECODE.until - DECODE.from, temperature: 0 };
  let ids: number[] = [];
  /** Milliseconds of a step among the sixteen that follow `from` tokens in the cache. */
  const perToken = async (from: number): Promise<number> => {
    const longer = Int32Array.from(
      rows.flatMap((row) => Array.from({ length: from }, (_, i) => row[i % row.length])),
    );
    const rounds: number[] = [];
    for (let round = 0; round < 5; round++) {
      using _scope = new Scope();
      using cache = model.createCache(batch);
      const next = (ids: Tensor): Tensor =>
        sample(model.nextLogits(ids, { cache }), { temperature: 0 });
      let last = noGrad(() => next(tensor(longer, { shape: [batch, from] })));
      await last.data();
      const start = performance.now();
      for (let i = 0; i < 16; i++) last = noGrad(() => next(reshape(last, [batch, 1])));
      await last.data();
      rounds.push((performance.now() - start) / 16);
    }
    return median(rounds);
  };
  return {
    async run(repeats) {
      for (let i = 0; i < repeats; i++) ids = [...(await generate(model, rows, greedy))[0].ids];
    },
    report: async () => ({
      tail: ids.slice(0, 8),
      early: await perToken(DECODE.from),
      late: await perToken(DECODE.until - 16),
    }),
    dispose: () => model.dispose(),
  };
}

/** The hashed parameters in this project's layout: weights (outputs, inputs), q, k and v apart. */
function ownParameters(): Map<string, Float32Array> {
  const theirs = initialParameters();
  const own = new Map<string, Float32Array>([
    ["wte.weight", theirs.get("tok")!.data],
    ["wpe.weight", theirs.get("pos")!.data],
  ]);
  const norm = (name: string, source: string): void => {
    own.set(`${name}.weight`, theirs.get(`${source}.g`)!.data);
    own.set(`${name}.bias`, theirs.get(`${source}.b`)!.data);
  };
  const linear = (name: string, source: string): void => {
    own.set(`${name}.weight`, transposed(theirs.get(`${source}.w`)!));
    own.set(`${name}.bias`, theirs.get(`${source}.b`)!.data);
  };
  for (let i = 0; i < GPT.layers; i++) {
    norm(`h.${i}.ln_1`, `${i}.ln1`);
    linear(`h.${i}.attn.c_attn`, `${i}.qkv`);
    linear(`h.${i}.attn.c_proj`, `${i}.proj`);
    norm(`h.${i}.ln_2`, `${i}.ln2`);
    linear(`h.${i}.mlp.c_fc`, `${i}.up`);
    linear(`h.${i}.mlp.c_proj`, `${i}.down`);
  }
  norm("ln_f", "ln");
  return own;
}

function transposed({ shape: [rows, columns], data }: Parameter): Float32Array {
  const out = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < columns; i++) out[i * rows + row] = data[row * columns + i];
  }
  return out;
}
