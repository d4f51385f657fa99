/**
 * What packing examples into rows gains in fine-tuning: microseconds a token of the examples on the CPU device, for forward
 * and backward pass, with one example a row and with packed rows. Rows of a single long example have no padding and no
 * borders. Below, attention alone.
 *
 *   deno run --allow-ffi bench/packing.ts
 */
import {
  attention,
  batchTensors,
  CpuDevice,
  GPT2,
  randn,
  RandomState,
  RowLoader,
  rowsOf,
  Scope,
  sum,
  tensor,
  zeroGrad,
} from "../mod.ts";

/** The best time of a few runs in milliseconds. */
async function time(run: () => Promise<unknown>): Promise<number> {
  let best = Infinity;
  for (let i = 0; i < 4; i++) {
    const start = performance.now();
    await run();
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

const random = new RandomState(1);
using device = CpuDevice.open();
console.log(device.description);

const lengths = Array.from({ length: 96 }, (_, i) => 20 + i * i * 7 % 101 + i * 37 % 61);
const longest = Math.ceil(Math.max(...lengths) / 8) * 8;
using model = new GPT2({
  ...{ vocabSize: 2048, maxPositionEmbeddings: 2 * longest, hiddenSize: 256 },
  ...{ numHiddenLayers: 4, numAttentionHeads: 4 },
}, { device, random });
const parameters = model.parameters();

const examples = (lengths: number[]) =>
  lengths.map((length) => ({
    ids: Int32Array.from({ length }, (_, i) => i * 31 % 2048),
    learned: new Uint8Array(length).fill(1),
  }));
const short = examples(lengths);
const long = examples(Array.from({ length: 12 }, () => 2 * longest + 1));
let before: number | undefined;
for (
  const [name, data, contextSize] of [
    ["one example a row", short, longest],
    ["packed", short, 2 * longest],
    ["long examples", long, 2 * longest],
  ] as const
) {
  const pack = name === "packed", batchSize = 8 * longest / contextSize;
  const { rows } = rowsOf({ kind: "answers", examples: data }, { contextSize, pack });
  const loader = new RowLoader(rows, { batchSize, contextSize, pack });
  const tokens = data.reduce((sum, { ids }) => sum + ids.length - 1, 0);
  const ms = await time(async () => {
    for (let row = 0; row < rows.length; row += batchSize) {
      using _scope = new Scope();
      const count = Math.min(batchSize, rows.length - row);
      const batch = await loader.next(count);
      const { ids, targets, positions } = batchTensors(batch, [count, contextSize], device);
      model.loss(ids, targets, { positions }).backward();
      zeroGrad(parameters);
    }
  });
  const padding = 1 - tokens / (rows.length * contextSize);
  before ??= ms;
  console.log(
    `${name}: ${rows.length} rows of ${contextSize} tokens, ${
      (100 * padding).toFixed(0)
    } % padding, ` +
      `${(1000 * ms / tokens).toFixed(0)} us a token` +
      (name === "packed" ? `, ${(before / ms).toFixed(2)} times as fast` : ""),
  );
}

const [T, heads, d] = [2048, 6, 64];
for (const length of [2048, 512, 128, 32]) {
  const pass = async (batch: number, time: number, positions?: Int32Array) => {
    using _scope = new Scope();
    const [q, k, v] = ["q", "k", "v"].map(() => {
      const x = randn([batch, time, heads, d], { device, random });
      x.requiresGrad = true;
      return x;
    });
    const places = positions && tensor(positions, { device, shape: [batch, time] });
    const begun = performance.now();
    const options = { causal: true, layout: "BTHD", positions: places } as const;
    await sum(attention(q!, k!, v!, options)).backward();
    return performance.now() - begun;
  };
  const best = async (run: () => Promise<number>) => {
    let best = Infinity;
    for (let i = 0; i < 5; i++) best = Math.min(best, await run());
    return best;
  };
  const positions = Int32Array.from({ length: T }, (_, i) => i % length);
  const packed = await best(() => pass(1, T, positions));
  const apart = await best(() => pass(T / length, length));
  const whole = await best(() => pass(1, T));
  console.log(
    `attention, ${T} tokens of documents of ${length}: packed ${packed.toFixed(1)} ms, ` +
      `as a batch ${apart.toFixed(1)} ms, without borders ${whole.toFixed(1)} ms`,
  );
}
