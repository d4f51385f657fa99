import assert from "node:assert/strict";
import { constantLr, warmupCosine, warmupLinear } from "../../src/optim/schedule.ts";

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

Deno.test("constantLr() is the same at every step", () => {
  assert.deepEqual([1, 100].map(constantLr(0.3)), [0.3, 0.3]);
});

Deno.test("schedules refuse what makes no sense", () => {
  assert.throws(() => warmupCosine({ maxLr: 1, minLr: 2, decaySteps: 4 }), RangeError);
  assert.throws(() => warmupCosine({ maxLr: 1, warmupSteps: 5, totalSteps: 5 }), RangeError);
  assert.throws(() => warmupCosine({ maxLr: 1, warmupSteps: 0.5, decaySteps: 5 }), RangeError);
  assert.throws(() => warmupLinear({ maxLr: NaN, decaySteps: 5 }), RangeError);
  assert.throws(() => constantLr(-1), RangeError);
});
