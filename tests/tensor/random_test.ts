import type { Tensor } from "../../src/tensor/tensor.ts";
import { Linear } from "../../src/nn/layers.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import assert from "node:assert/strict";
import { philox } from "../../kernels/sampling/philox.ts";
import { dropout, rand, randn } from "../../src/ops/random.ts";
import { sum } from "../../src/ops/reduce.ts";
import { ones } from "../../src/tensor/create.ts";
import { manualSeed, RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { assertSame } from "../support/compare.ts";
import { onEachDevice, testDevices } from "../support/devices.ts";

Deno.test("philox() gives the published answers", () => {
  // Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, result.
  const known = [
    [
      "00000000 00000000 00000000 00000000",
      "00000000 00000000",
      "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ],
    [
      "ffffffff ffffffff ffffffff ffffffff",
      "ffffffff ffffffff",
      "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ],
    [
      "243f6a88 85a308d3 13198a2e 03707344",
      "a4093822 299f31d0",
      "d16cfe09 94fdcceb 5001e420 24126ea1",
    ],
  ].map((row) => row.map((text) => text.split(" ").map((word) => parseInt(word, 16))));
  for (const [[c0, c1, c2, c3], [k0, k1], expected] of known) {
    const out = new Uint32Array(4);
    philox(c0, c1, c2, c3, k0, k1, out);
    assert.deepEqual([...out], expected);
  }
});

await onEachDevice("randn() and rand() have the moments they should", async (device) => {
  using _scope = new Scope();
  const random = new RandomState(3);
  const count = 1e5;
  const moments = (values: ArrayLike<number>) => {
    const mean = Array.from(values).reduce((a, b) => a + b, 0) / count;
    const power = (n: number) =>
      Array.from(values).reduce((a, b) => a + (b - mean) ** n, 0) / count;
    return [mean, power(2), power(3), power(4)];
  };
  const normal = moments(await randn([count], { device, random, mean: 1, std: 2 }).data());
  [1, 4, 0, 48].forEach((expected, i) => {
    assert.ok(Math.abs(normal[i] - expected) < [0.03, 0.1, 0.5, 3][i], `moment ${i}: ${normal[i]}`);
  });
  const uniform = await rand([count], { device, random, low: -1, high: 1 }).data();
  assert.ok(uniform.every((value) => value >= -1 && value < 1));
  const [mean, variance] = moments(uniform);
  assert.ok(Math.abs(mean) < 0.01 && Math.abs(variance - 1 / 3) < 0.01);
});

Deno.test("randn() draws the same numbers on every device", async () => {
  const devices = await testDevices();
  const drawn = await Promise.all(devices.map((device) => {
    using x = randn([5000], { device, random: new RandomState(2 ** 40 + 5) });
    return x.data();
  }));
  for (const other of drawn) {
    other.forEach((value, i) => assert.ok(Math.abs(value - drawn[0][i]) < 2e-6));
  }
});

await onEachDevice("RandomState goes on where it was saved", async (device) => {
  using _scope = new Scope();
  const random = new RandomState(11);
  rand([5], { device, random });
  const state = JSON.parse(JSON.stringify(random.state()));
  const first = await rand([7], { device, random }).data();
  const other = new RandomState(0);
  other.restore(state);
  assert.deepEqual(await rand([7], { device, random: other }).data(), first);
  assert.notDeepEqual(await rand([7], { device, random: other }).data(), first);
  assert.throws(() => new RandomState(-1), /seed to be an integer of 0 or more but got -1/);
});

await onEachDevice(
  "dropout() drops a part, scales the rest, and its gradient the same",
  async (device) => {
    using _scope = new Scope();
    const x = ones([20000], { device });
    x.requiresGrad = true;
    const y = dropout(x, 0.25, { random: new RandomState(5) });
    sum(y).backward();
    const values = await y.data();
    const dropped = values.filter((value) => value === 0).length;
    assert.ok(Math.abs(dropped / 20000 - 0.25) < 0.015, `${dropped} were dropped`);
    assert.ok(values.every((value) => value === 0 || Math.abs(value - 4 / 3) < 1e-6));
    assertSame(await x.grad!.data(), values);
    assert.throws(() => dropout(x, 1), /expected p in \[0, 1\) but got 1/);
  },
);

await onEachDevice(
  "what draws without a stream is fresh, and manualSeed() governs it",
  async (device) => {
    const sizes = {
      vocabSize: 20,
      maxPositionEmbeddings: 8,
      hiddenSize: 8,
      numHiddenLayers: 1,
      numAttentionHeads: 2,
    };
    const draws: (() => Tensor)[] = [
      () => randn([8], { device }),
      () => dropout(ones([64], { device }), 0.5),
      () => new GPT2(sizes, { device }).parameters().get("wte.weight")!,
      () => new Linear(4, 4, { device }).weight,
    ];
    for (const draw of draws) {
      const read = async () => [...await draw().data()];
      const [first, second] = [await read(), await read()];
      assert.notDeepEqual(first, second, "two draws are equal");
      manualSeed(1);
      const one = await read();
      manualSeed(2);
      assert.notDeepEqual(await read(), one, "the seed does not count");
      manualSeed(1);
      assert.deepEqual(await read(), one, "the seed does not repeat");
    }
    assert.notEqual(new RandomState().state().seed, new RandomState().state().seed);
  },
);
