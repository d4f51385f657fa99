import assert from "node:assert/strict";
import { AdamW } from "../../src/optim/adamw.ts";
import { SGD } from "../../src/optim/sgd.ts";
import { mul } from "../../src/ops/elementwise.ts";
import { sum } from "../../src/ops/reduce.ts";
import { tensor } from "../../src/tensor/create.ts";
import { scoped } from "../../src/tensor/scope.ts";
import { onEachDevice } from "../support/devices.ts";

/** What is said on the console while `body` runs. */
async function warnings(body: () => Promise<void>): Promise<string[]> {
  const { warn } = console;
  const said: string[] = [];
  console.warn = (text: string) => said.push(text);
  try {
    await body();
  } finally {
    console.warn = warn;
  }
  return said;
}

await onEachDevice(
  "step() with a NaN gradient changes nothing, and the next read says so once",
  async (device) => {
    for (const Optimizer of [AdamW, SGD]) {
      const weight = tensor([1, 2], { device });
      weight.requiresGrad = true;
      using optimizer = new Optimizer({ weight }, { lr: 0.1 });
      const step = (gradient: number) => {
        weight.grad = tensor([1, gradient], { device }).keep();
        optimizer.step();
      };
      const said = await warnings(async () => {
        step(1);
        await weight.data();
      });
      assert.deepEqual(said, []);
      const before = await weight.data();
      const then = await warnings(async () => {
        step(NaN);
        step(Infinity);
        assert.deepEqual(await weight.data(), before);
        step(NaN);
        await weight.data();
      });
      assert.equal(then.length, 1);
      assert.match(then[0], /\.step\(\) changed nothing in 2 of the last 2 steps.*checkGradNorm/);
      weight.dispose();
    }
  },
);

await onEachDevice("a frozen parameter has no moments until it is trained", async (device) => {
  const trained = tensor([1], { device }), frozen = tensor([2, 3], { device });
  trained.requiresGrad = true;
  using optimizer = new AdamW({ trained, frozen }, { lr: 0.1 });
  assert.deepEqual([...optimizer.state().keys()], ["step", "m.trained", "v.trained"]);
  scoped(() => sum(mul(trained, trained)).backward());
  optimizer.step();
  assert.deepEqual([...optimizer.state().keys()], ["step", "m.trained", "v.trained"]);
  frozen.requiresGrad = true;
  assert.ok(optimizer.state().has("v.frozen"), "a checkpoint would lack it");
  scoped(() => sum(mul(frozen, frozen)).backward());
  optimizer.step();
  assert.ok(optimizer.state().has("m.frozen"));
  assert.ok((await frozen.data())[0] < 2);

  const stored = new Map<string, { shape: readonly number[]; data: ArrayBufferView }>();
  for (const [name, state] of optimizer.state()) {
    stored.set(name, { shape: state.shape, data: await state.data() });
  }
  frozen.requiresGrad = false;
  using restored = new AdamW({ trained, frozen }, { lr: 0.1 });
  restored.restore(stored);
  assert.deepEqual(
    await restored.state().get("v.frozen")!.data(),
    await optimizer.state().get("v.frozen")!.data(),
  );
  trained.dispose();
  frozen.dispose();
});
