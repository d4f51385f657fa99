/**
 * Training, decoding, matrix products and the tokenizer, each a `Deno.bench`, so that `--filter` and `--json` work:
 *
 *     deno bench -A bench/dinograd_bench.ts --filter cpu
 *
 * A name tells what one iteration does. On the CPU, and on WebGPU where there is an adapter, a software adapter too.
 * Comparisons with peers are `deno task bench:peers`.
 */
import {
  AdamW,
  CpuDevice,
  type Device,
  DeviceError,
  generate,
  GPT2,
  GPT2Tokenizer,
  loadMobyDick,
  matmul,
  Muon,
  openDevice,
  randn,
  RandomState,
  readTensors,
  Scope,
  tensor,
} from "../mod.ts";

const SIZES = {
  vocabSize: 1024,
  maxPositionEmbeddings: 128,
  hiddenSize: 128,
  numHiddenLayers: 4,
  numAttentionHeads: 4,
};
const BATCH = [4, 128];

const text = await loadMobyDick();
const tokenizer = new GPT2Tokenizer();
Deno.bench("tokenizer: 1.2 MB of Moby Dick by GPT2Tokenizer", { group: "tokenizer" }, () => {
  tokenizer.encodeOrdinary(text);
});

benchDevice("cpu", CpuDevice.open());
const gpu = await openWebGpu();
if (gpu) benchDevice("webgpu", gpu);

async function openWebGpu(): Promise<Device | undefined> {
  try {
    return await openDevice({ kind: "webgpu" });
  } catch (error) {
    if (error instanceof DeviceError) return undefined;
    throw error;
  }
}

function benchDevice(name: string, device: Device): void {
  const model = new GPT2(SIZES, { device, random: new RandomState(1) });
  const optimizer = new AdamW(model.parameters());
  const ids = tensor(Int32Array.from({ length: 512 }, (_, i) => i), { shape: BATCH, device });
  Deno.bench(
    `train ${name}: 512 tokens by GPT-2 of 0.9 M parameters`,
    { group: "train" },
    async () => {
      using _scope = new Scope();
      const loss = model.loss(ids, ids);
      loss.backward();
      optimizer.step();
      optimizer.zeroGrad();
      await readTensors([loss]);
    },
  );
  for (const Optimizer of [AdamW, Muon]) {
    const model = new GPT2(SIZES, { device, random: new RandomState(1) });
    const optimizer = new Optimizer(model.parameters());
    model.loss(ids, ids).backward();
    const watched = model.ln_f.bias;
    Deno.bench(
      `optimizer ${name}: a step of ${Optimizer.name}, GPT-2 of 0.9 M parameters`,
      { group: "optimizer" },
      async () => {
        optimizer.step();
        await readTensors([watched]);
      },
    );
  }
  Deno.bench(
    `decode ${name}: 64 tokens by GPT-2 of 0.9 M parameters`,
    { group: "decode" },
    async () => {
      await generate(model, [[1, 2, 3]], { length: 64, temperature: 0 });
    },
  );
  for (const n of [256, 1024]) {
    const random = new RandomState(2);
    const [a, b] = [randn([n, n], { device, random }), randn([n, n], { device, random })];
    Deno.bench(`matmul ${name}: ${n} x ${n} x ${n} in f32`, { group: `matmul ${n}` }, async () => {
      using _scope = new Scope();
      const product = matmul(a, b);
      await readTensors([product]);
    });
  }
}
