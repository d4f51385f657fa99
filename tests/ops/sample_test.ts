import assert from "node:assert/strict";
import { randint } from "../../src/ops/random.ts";
import { broadcastTo } from "../../src/ops/broadcast_to.ts";
import { sample } from "../../src/ops/sample.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { onEachDevice } from "../support/devices.ts";

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

await onEachDevice("randint() draws every whole number alike", async (device) => {
  using _scope = new Scope();
  const drawn = randint(-3, 2, [5000], { device, random: new RandomState(1) });
  assert.equal(drawn.dtype, "i32");
  const seen = counts((await drawn.data()).map((x) => x + 3), 5);
  assert.equal(seen.length, 5);
  assert.ok(seen.every((count) => Math.abs(count - 1000) < 120), `${seen}`);
  assert.throws(() => randint(3, 3, [1], { device }), /randint: expected/);
});
