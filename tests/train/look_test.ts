// What is looked at while a model trains.
import assert from "node:assert/strict";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { LLaMA } from "../../src/models/llama.ts";
import { readParameters, readSelfAttention, weightNorm } from "../../src/train/look.ts";
import { tensor } from "../../src/tensor/create.ts";
import { scoped } from "../../src/tensor/scope.ts";

const sizes = {
  ...{ vocabSize: 20, maxPositionEmbeddings: 8, hiddenSize: 8 },
  ...{ numHiddenLayers: 2, numAttentionHeads: 2 },
};
const tokenizer = {
  decodeBytes: (ids: ArrayLike<number>) => new TextEncoder().encode(`<${ids[0]}>`),
};

for (const Model of [GPT2, LLaMA]) {
  for (const dtype of ["f32", "f16"] as const) {
    Deno.test(`readSelfAttention() has the weights of all heads of a ${Model.name} in ${dtype}, and frees its tensors`, async () => {
      using device = CpuDevice.open({ threads: 1 });
      const model = new Model(sizes, { device, dtype });
      await readSelfAttention(model, tokenizer, [0]); // a device keeps LLaMA's table of positions
      const before = device.memory().live;
      const layers = await readSelfAttention(model, tokenizer, [3, 1, 4]);
      assert.equal(device.memory().live, before);
      assert.equal(layers.length, 2);
      assert.notEqual(layers[0].name, layers[1].name);
      for (const { heads, queries, keys, weights, queryTokens, keyTokens } of layers) {
        assert.deepEqual([heads, queries, keys], [2, 3, 3]);
        assert.deepEqual([queryTokens, keyTokens], [["<3>", "<1>", "<4>"], ["<3>", "<1>", "<4>"]]);
        for (let row = 0; row < heads * queries; row++) {
          const of = weights.subarray(row * keys, (row + 1) * keys);
          assert.ok(Math.abs(of.reduce((sum, weight) => sum + weight) - 1) < 2e-3);
          assert.ok(of.subarray(row % queries + 1).every((weight) => weight === 0), "it is causal");
        }
      }
      model.dispose();
    });
  }
}

Deno.test("weightNorm() is that of the values that readParameters() reads, beside their gradients", async () => {
  using device = CpuDevice.open({ threads: 1 });
  const model = new GPT2(sizes, { device });
  scoped(() => {
    const ids = tensor([[1, 2, 3]], { device, dtype: "i32" });
    model.loss(ids, ids).backward();
  });
  const values = await readParameters(model.parameters());
  const names = [...model.parameters().keys()];
  assert.deepEqual(
    Object.keys(values).sort(),
    names.flatMap((name) => [`weights/${name}`, `gradients/${name}`]).sort(),
  );
  const squares = names.flatMap((name) => [...values[`weights/${name}`]].map((x) => x * x));
  using norm = weightNorm(model.parameters());
  const expected = Math.sqrt(squares.reduce((sum, square) => sum + square));
  assert.ok(Math.abs(await norm.item() / expected - 1) < 1e-6);
  model.dispose();
});
