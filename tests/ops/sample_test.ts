import assert from "node:assert/strict";
import { randint, randn } from "../../src/ops/random.ts";
import { broadcastTo, slice } from "../../src/ops/shape.ts";
import { sample } from "../../src/ops/sampling.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { assertSame } from "../support/compare.ts";
import { onEachDevice, testDevices } from "../support/devices.ts";
import { onRowDevices } from "./row_devices.ts";

/** How often each id was drawn. */
function counts(ids: ArrayLike<number>, vocabulary: number): number[] {
  const seen = new Array<number>(vocabulary).fill(0);
  for (let i = 0; i < ids.length; i++) seen[ids[i]]++;
  return seen;
}

await onEachDevice("sample() draws with the probabilities of the softmax", async (device) => {
  using _scope = new Scope();
  const logits = broadcastTo(tensor([[0, Math.log(2), Math.log(5)]], { device }), [8000, 3]);
  const random = new RandomState(11);
  const all = counts(await sample(logits, { random }).data(), 3);
  [1 / 8, 2 / 8, 5 / 8].forEach((p, id) =>
    assert.ok(Math.abs(all[id] / 8000 - p) < 0.02, `${all}`)
  );
  const two = counts(await sample(logits, { random, topK: 2 }).data(), 3);
  assert.equal(two[0], 0);
  assert.ok(Math.abs(two[1] / 8000 - 2 / 7) < 0.02, `${two}`);
  const cold = counts(await sample(logits, { random, temperature: 0.5 }).data(), 3);
  assert.ok(Math.abs(cold[2] / 8000 - 25 / 30) < 0.02, `${cold}`);
});

await onEachDevice(
  "sample() takes the highest at temperature 0 and with a topK of 1",
  async (device) => {
    using _scope = new Scope();
    const logits = tensor([[1, 3, 2], [5, 4, -6]], { device });
    assert.deepEqual(await sample(logits, { temperature: 0 }).toArray(), [1, 0]);
    assert.deepEqual(await sample(logits, { topK: 1 }).toArray(), [1, 0]);
    assert.throws(() => sample(logits, { temperature: -1 }), /temperature of 0 or more/);
    assert.throws(() => sample(logits, { topK: 0 }), /topK of 1 or more/);
  },
);

/** The ids that top-k, then top-p, then min-p leave of one row, found by sorting, in double precision. */
function left(
  logits: readonly number[],
  { temperature = 1, topK = logits.length, topP = 1, minP = 0 },
): number[] {
  const order = logits.map((_, id) => id).sort((a, b) => logits[b] - logits[a]).slice(0, topK);
  const weights = order.map((id) => Math.exp((logits[id] - logits[order[0]]) / temperature));
  const whole = weights.reduce((a, b) => a + b);
  let before = 0;
  return order.filter((_, rank) => {
    const reached = before >= topP * whole;
    before += weights[rank];
    return !reached && weights[rank] >= minP;
  });
}

await onEachDevice(
  "sample() draws what a sort leaves, as likely as the rest lets it",
  async (device) => {
    using _scope = new Scope();
    const random = new RandomState(5);
    for (const columns of [21, 48]) {
      const row = Array.from({ length: columns }, (_, i) => Math.fround(3 * Math.sin(i * i + 1)));
      const logits = broadcastTo(tensor([row], { device }), [6000, columns]);
      const settings = [
        {},
        { topK: 7 },
        { topP: 0.6 },
        { minP: 0.3 },
        { temperature: 2, topK: 15, topP: 0.8, minP: 0.5 },
        { temperature: 0.3, topP: 0.95 },
      ];
      for (const options of settings) {
        const drawn = counts(await sample(logits, { ...options, random }).data(), columns);
        const ids = left(row, options);
        const { temperature = 1 } = options as { temperature?: number };
        const weights = ids.map((id) => Math.exp(row[id] / temperature));
        const whole = weights.reduce((a, b) => a + b);
        let misses = 0;
        row.forEach((_, id) => {
          const p = ids.includes(id) ? weights[ids.indexOf(id)] / whole : 0;
          if (p === 0) assert.equal(drawn[id], 0, `id ${id} of ${JSON.stringify(options)}`);
          else misses += (drawn[id] - 6000 * p) ** 2 / (6000 * p);
        });
        // Chi-squared: its mean is the degrees of freedom, its variance twice that.
        const free = ids.length - 1;
        assert.ok(misses < free + 4 * Math.sqrt(2 * free) + 3, `${misses} with ${free} free`);
      }
    }
  },
);

await onRowDevices(
  "sample() makes seen ids less likely with a repetitionPenalty",
  async (device) => {
    using _scope = new Scope();
    const logits = tensor([[2, 3, -1], [-1, -1.5, -4]], { device });
    const seen = tensor(Uint32Array.of(0, 1, 0, 1, 0, 1), { shape: [2, 3], device });
    const options = { temperature: 0, repetitionPenalty: 2, seen };
    assert.deepEqual(await sample(logits, options).toArray(), [0, 1]);
    assert.throws(() => sample(logits, { repetitionPenalty: 2 }), /expected seen \(B, V\)/);
    assert.throws(
      () => sample(logits, { repetitionPenalty: 2, seen: slice(seen, [[0, 1]]) }),
      /expected seen of shape \[2, 3\] but got \[1, 3\]/,
    );
  },
);

await onEachDevice("sample() names the option that is out of range", (device) => {
  using _scope = new Scope();
  const logits = tensor([[1, 2]], { device });
  const wrong = [
    [{ temperature: Infinity }, "a temperature of 0 or more but got Infinity"],
    [{ topK: 1.5 }, "a topK of 1 or more but got 1.5"],
    [{ topP: 1.1 }, "a topP from 0 to 1 but got 1.1"],
    [{ minP: NaN }, "a minP from 0 to 1 but got NaN"],
    [{ repetitionPenalty: 0 }, "a repetitionPenalty above 0 but got 0"],
    [{ vocabSize: 3 }, "a vocabSize from 1 to 2 but got 3"],
  ] as const;
  for (const [options, message] of wrong) {
    assert.throws(() => sample(logits, options), new RangeError(`sample: expected ${message}`));
  }
});

await onRowDevices("sample() draws the same ids on every device", async (device) => {
  using _scope = new Scope();
  const random = new RandomState(4);
  const [cpu] = await testDevices();
  for (const columns of [1028, 1026, 9]) {
    const shape = [5, columns];
    const values = await randn(shape, { std: 3, device: cpu, random }).data();
    for (const options of [{}, { topK: 50, topP: 0.9 }, { minP: 0.1 }]) {
      const [found, expected] = [device, cpu].map((where) =>
        sample(tensor(values, { shape, device: where }), { ...options, random: new RandomState(6) })
      );
      assertSame(await found.data(), await expected.data());
    }
  }
});

await onEachDevice("randint() draws every integer evenly", async (device) => {
  using _scope = new Scope();
  const drawn = randint(-3, 2, [5000], { device, random: new RandomState(1) });
  assert.equal(drawn.dtype, "i32");
  const seen = counts((await drawn.data()).map((x) => x + 3), 5);
  assert.equal(seen.length, 5);
  assert.ok(seen.every((count) => Math.abs(count - 1000) < 120), `${seen}`);
  assert.throws(() => randint(3, 3, [1], { device }), /randint: expected/);
});
