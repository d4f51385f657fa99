/**
 * What Muon costs at GPT-2's 124 million parameters: seconds of a step of AdamW, of one of Muon and of forward and backward
 * pass on the CPU device with OpenBLAS, and from those the share that Muon adds to steps of 8,192 and 524,288 tokens.
 *
 *   deno run --allow-ffi bench/muon.ts
 */
import {
  AdamW,
  CpuDevice,
  GPT2,
  Muon,
  RandomState,
  readTensors,
  Scope,
  tensor,
  zeroGrad,
} from "../mod.ts";

const TOKENS = 1024;

/** The median time of three runs in seconds, after one that is not counted. */
async function time(name: string, run: () => Promise<unknown>): Promise<number> {
  await run();
  const seconds = [];
  for (let i = 0; i < 3; i++) {
    const start = performance.now();
    await run();
    seconds.push((performance.now() - start) / 1000);
  }
  const median = seconds.toSorted((a, b) => a - b)[1]!;
  console.log(`${name}: ${median.toFixed(2)} s`);
  return median;
}

using device = CpuDevice.open();
console.log(device.description);
const shape = {
  ...{ vocabSize: 50_304, maxPositionEmbeddings: TOKENS, hiddenSize: 768 },
  ...{ numHiddenLayers: 12, numAttentionHeads: 12 },
};
using model = new GPT2(shape, { device, random: new RandomState(1) });
const parameters = model.parameters();
const ids = tensor(Int32Array.from({ length: TOKENS }, (_, i) => i * 31 % 50_257), {
  shape: [1, TOKENS],
  device,
});

const pass = await time(`forward and backward pass of ${TOKENS} tokens`, async () => {
  zeroGrad(parameters);
  using _scope = new Scope();
  const loss = model.loss(ids, ids);
  loss.backward();
  await readTensors([loss]);
});
const steps: number[] = [];
for (const Optimizer of [AdamW, Muon]) {
  using optimizer = new Optimizer(parameters);
  steps.push(
    await time(`a step of ${Optimizer.name}`, async () => {
      optimizer.step();
      await readTensors([model.ln_f.bias]);
    }),
  );
}
for (const tokens of [8192, 524_288]) {
  const rest = pass * tokens / TOKENS + steps[0]!;
  const share = (steps[1]! - steps[0]!) / rest;
  console.log(
    `Muon adds ${(share * 100).toFixed(1)} % to a step of ${tokens.toLocaleString("en")} tokens`,
  );
}
