import assert from "node:assert/strict";
import { LLaMA } from "../../src/models/llama.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { onEachDevice } from "../support/devices.ts";

const SIZES = {
  vocabSize: 23,
  maxPositionEmbeddings: 80,
  hiddenSize: 24,
  numHiddenLayers: 2,
  numAttentionHeads: 6,
};
const MODELS = {
  "LLaMA 1": {},
  "LLaMA 2": { numKeyValueHeads: 3 },
  "LLaMA 3": { numKeyValueHeads: 2, ropeTheta: 500_000, ropeLayout: "half-split" },
} as const;

for (const [name, config] of Object.entries(MODELS)) {
  for (const lengths of [[60, 60], [60, 3]]) {
    const what = lengths[0] === lengths[1] ? "rows" : "rows of unequal length";
    await onEachDevice(`cached logits of ${name} equal uncached ones, ${what}`, async (device) => {
      using _scope = new Scope();
      const model = new LLaMA({ ...SIZES, ...config }, { device });
      const { vocabSize } = SIZES;
      const rows = [1, 2].map((seed) =>
        Array.from({ length: 70 }, (_, i) => (i * i * 7 + i * 3 + seed * 5) % vocabSize)
      );
      const whole = noGrad(() => model.logits(tensor(rows, { device, dtype: "i32" })));
      // The prompts at once, then one token a row: the cache grows at 64.
      using cache = model.createCache(2);
      const prompts = tensor(rows.map((row) => row.slice(0, 60)), { device, dtype: "i32" });
      const cached = [model.nextLogits(prompts, { cache, lengths })];
      for (let step = 0; step < 10; step++) {
        const next = rows.map((row, b) => [row[lengths[b] + step]]);
        cached.push(model.nextLogits(tensor(next, { device, dtype: "i32" }), { cache }));
      }
      assert.equal(cache.capacity, 80);
      const [all, ...found] = await readTensors([whole, ...cached]);
      found.forEach((logits, step) =>
        lengths.forEach((length, b) => {
          const at = (b * 70 + length + step - 1) * vocabSize;
          for (let id = 0; id < vocabSize; id++) {
            const [got, wanted] = [logits[b * vocabSize + id], all[at + id]];
            assert.ok(Math.abs(got - wanted) <= 1e-5, `row ${b}, step ${step}: ${got}, ${wanted}`);
          }
        })
      );
      model.dispose();
    });
  }
}
