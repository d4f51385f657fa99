import assert from "node:assert/strict";
import { philox } from "../../kernels/sampling/philox.ts";
import { dropout, rand, randn } from "../../src/ops/random.ts";
import { sum } from "../../src/ops/reduce.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { ones } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { assertSame } from "../support/compare.ts";
import { onEachDevice, testDevices } from "../support/devices.ts";

Deno.test("philox() gives the known answers of Random123", () => {
  // From kat_vectors of the Random123 distribution, philox4x32 with 10 rounds.
  const known: [counter: number[], key: number[], answer: number[]][] = [
    [[0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ];
  for (const [[a, b, c, d], [k0, k1], answer] of known) {
    const out = new Uint32Array(4);
    philox(a, b, c, d, k0, k1, out);
    assert.deepEqual([...out], answer);
  }
});

Deno.test({
  name: "rand(), randn() and dropout() draw the same on every device",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    using _scope = new Scope();
    const draws = await Promise.all((await testDevices()).map((device) => {
      const random = new RandomState(42);
      const uniform = rand([1001], { device, random });
      const normal = randn([1001], { device, random });
      const dropped = dropout(ones([1001], { device }), 0.3, { random });
      return Promise.all([uniform.data(), normal.data(), dropped.data()]);
    }));
    for (const [uniform, normal, dropped] of draws) {
      assertSame(uniform, draws[0][0]);
      assertSame(dropped, draws[0][2]);
      normal.forEach((z, i) => assert.ok(Math.abs(z - draws[0][1][i]) < 2e-6));
    }
  },
});

await onEachDevice("randn() is normal and rand() is even", async (device) => {
  using _scope = new Scope();
  const count = 100_000;
  const z = await randn([count], { device, random: new RandomState(7), mean: 1, std: 2 }).data();
  const u = await rand([count], { device, random: new RandomState(8), low: -1, high: 3 }).data();
  const moments = (values: ArrayLike<number>) => {
    const all = Array.from(values);
    const mean = all.reduce((total, x) => total + x, 0) / count;
    return [mean, Math.sqrt(all.reduce((total, x) => total + (x - mean) ** 2, 0) / count)];
  };
  const [mean, std] = moments(z);
  assert.ok(Math.abs(mean - 1) < 0.03 && Math.abs(std - 2) < 0.02, `${mean} ${std}`);
  const within = z.filter((x) => Math.abs(x - 1) < 2).length / count;
  assert.ok(Math.abs(within - 0.6827) < 0.006, `${within}`);
  const [middle, spread] = moments(u);
  assert.ok(Math.abs(middle - 1) < 0.015 && Math.abs(spread - 4 / Math.sqrt(12)) < 0.01);
  assert.ok(u.every((x) => x >= -1 && x < 3));
});

await onEachDevice("a RandomState goes on from where it was saved", async (device) => {
  using _scope = new Scope();
  const random = new RandomState(2 ** 40 + 5);
  rand([10], { device, random });
  const saved = JSON.parse(JSON.stringify(random.state()));
  const next = await rand([10], { device, random }).toArray();
  const other = new RandomState();
  other.restore(saved);
  assert.deepEqual(await rand([10], { device, random: other }).toArray(), next);
  assert.notDeepEqual(await rand([10], { device, random }).toArray(), next);
  assert.throws(() => new RandomState(-1), RangeError);
});

await onEachDevice("dropout() hands its gradient through the same mask", async (device) => {
  using _scope = new Scope();
  const x = ones([4000], { device });
  x.requiresGrad = true;
  const y = dropout(x, 0.25, { random: new RandomState(3) });
  sum(y).backward();
  const values = await y.data();
  assertSame(await x.grad!.data(), values);
  const kept = values.filter((value) => value !== 0);
  assert.ok(kept.every((value) => value === Math.fround(4 / 3)));
  assert.ok(Math.abs(kept.length / 4000 - 0.75) < 0.03, `${kept.length}`);
  assert.throws(() => dropout(x, 1.5), /dropout: expected/);
});
