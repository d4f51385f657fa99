import assert from "node:assert/strict";
import {
  batchSizeWarmup,
  constantLr,
  warmupCosine,
  warmupLinear,
  warmupStableDecay,
} from "../../src/optim/schedule.ts";

Deno.test("warmupCosine() grows in a line, decays in half a cosine, then stays", () => {
  const lr = warmupCosine({ maxLr: 6e-4, minLr: 6e-5, warmupSteps: 715, totalSteps: 19_073 });
  assert.equal(lr(1).toExponential(5), "8.39161e-7");
  assert.equal(lr(715), 6e-4);
  assert.equal(lr(19_073).toExponential(5), "6.00000e-5");
  assert.equal(lr(1_000_000), 6e-5);
  const same = warmupCosine({ maxLr: 6e-4, minLr: 6e-5, warmupSteps: 715, decaySteps: 18_358 });
  for (const step of [0, 3, 716, 5000, 19_072]) assert.equal(lr(step), same(step));
  assert.equal(warmupCosine({ maxLr: 1, decaySteps: 4 })(2), 0.5);
  assert.equal(warmupCosine({ maxLr: 1, decaySteps: 4 })(0), 1);
});

Deno.test("warmupLinear() decays in a line", () => {
  const lr = warmupLinear({ maxLr: 1, minLr: 0.5, warmupSteps: 4, totalSteps: 12 });
  assert.deepEqual([1, 4, 8, 12, 20].map(lr), [0.25, 1, 0.75, 0.5, 0.5]);
});

Deno.test("warmupStableDecay() grows, stays, cools down, and can be prolonged", () => {
  const stages = { maxLr: 1, minLr: 0.5, warmupSteps: 4, decaySteps: 8 };
  const lr = warmupStableDecay({ ...stages, totalSteps: 20 });
  assert.deepEqual([1, 4, 5, 12, 16, 20, 99].map(lr), [0.25, 1, 1, 1, 0.75, 0.5, 0.5]);
  const longer = warmupStableDecay({ ...stages, totalSteps: 1000 });
  for (let step = 1; step <= 12; step++) assert.equal(longer(step), lr(step));
  assert.equal(longer(992), 1);
  const none = warmupStableDecay({ maxLr: 1, decaySteps: 2, totalSteps: 2 });
  assert.deepEqual([1, 2].map(none), [0.5, 0]);
});

Deno.test("batchSizeWarmup() grows in whole micro-batches", () => {
  const size = batchSizeWarmup({
    ...{ initialBatchSize: 8, batchSize: 32, warmupSteps: 6, multipleOf: 8 },
  });
  assert.deepEqual([1, 2, 3, 4, 5, 6, 7, 100].map(size), [8, 16, 16, 24, 24, 32, 32, 32]);
  const none = { initialBatchSize: 8, batchSize: 8, warmupSteps: 0 };
  assert.equal(batchSizeWarmup(none)(1), 8);
  assert.throws(() => batchSizeWarmup({ ...none, initialBatchSize: 9 }), /9, 8 and 0/);
  assert.throws(() => batchSizeWarmup({ ...none, multipleOf: 3 }), /multiples of 3/);
});

Deno.test("constantLr() is the same at every step", () => {
  assert.deepEqual([1, 100].map(constantLr(0.3)), [0.3, 0.3]);
});

Deno.test("schedules refuse what makes no sense", () => {
  assert.throws(() => warmupCosine({ maxLr: 1, minLr: 2, decaySteps: 4 }), RangeError);
  assert.throws(() => warmupCosine({ maxLr: 1, warmupSteps: 5, totalSteps: 5 }), RangeError);
  assert.throws(() => warmupCosine({ maxLr: 1, warmupSteps: 0.5, decaySteps: 5 }), RangeError);
  assert.throws(() => warmupLinear({ maxLr: NaN, decaySteps: 5 }), RangeError);
  assert.throws(() => constantLr(-1), RangeError);
  const stages = { maxLr: 1, warmupSteps: 3, decaySteps: 3 };
  assert.throws(() => warmupStableDecay({ ...stages, totalSteps: 5 }), /at least 6 but got 5/);
  assert.throws(() => warmupStableDecay({ ...stages, decaySteps: 0, totalSteps: 5 }), RangeError);
});
