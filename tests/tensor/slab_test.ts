// Tensors side by side in one buffer, and what optimizers do with them.
import assert from "node:assert/strict";
import { AdamW, linear, mul, readTensors, Scope, sum, type Tensor, tensor } from "../../mod.ts";
import { joinNeighbours, Slab } from "../../src/tensor/slab.ts";
import { assertTensorsClose } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";

await onEachDevice("Slab: tensors in one buffer, freed with the last of them", async (device) => {
  const { live } = device.memory();
  const step = device.bindingAlignment / 4;
  const slab = new Slab(device, [[step], [2, step], [3], [1]], "f32", step);
  const all = [0, 1, 2, 3].map((i) => slab.take(i)!);
  assert.equal(slab.take(1), null, "one has this memory");
  assert.deepEqual(all.map(({ offset }) => offset / step), [0, 1, 3, Math.ceil(3 + 3 / step)]);
  all.forEach((x, i) => x.device.write(x.buffer, new Float32Array(x.size).fill(i), 4 * x.offset));
  const values = await readTensors(all);
  values.forEach((part, i) => assert.ok(part.every((value) => value === i)));
  all[1].dispose();
  const again = slab.take(1)!;
  assert.equal(again.buffer, all[0].buffer);
  [again, all[0], all[2], all[3]].forEach((x) => x.dispose());
  assert.equal(device.memory().live, live);
  using anew = slab.take(0)!;
  assert.equal(anew.offset, 0);
});

await onEachDevice("joinNeighbours() joins what goes on in every binding", (device) => {
  using _scope = new Scope();
  const step = device.bindingAlignment / 4 < 4 ? 4 : device.bindingAlignment / 4;
  const slab = () => new Slab(device, [[step], [step], [step], [3]], "f32", step);
  const [a, b] = [slab(), slab()];
  const pairs = [0, 1, 2, 3].map((i) => ({ x: a.take(i)!, y: b.take(i)! }));
  const sizes = (launches: readonly { x: { size: number } }[]) => launches.map(({ x }) => x.size);
  assert.deepEqual(sizes(joinNeighbours([2, 0, 1, 3].map((i) => pairs[i]))), [3 * step, 3]);
  assert.deepEqual(sizes(joinNeighbours([pairs[0], pairs[2]])), [step, step], "a gap");
  const other = { x: pairs[1].x, y: tensor(new Float32Array(step), { device }) };
  assert.deepEqual(sizes(joinNeighbours([pairs[0], other])), [step, step], "elsewhere");
});

await onEachDevice(
  "an optimizer moves its parameters, but none that shares its memory",
  async (device) => {
    using _scope = new Scope();
    const values = Float32Array.from({ length: 64 * 64 }, (_, i) => Math.sin(i));
    const leaf = (size: number) => {
      const x = tensor(values.slice(0, size * 64), { shape: [size, 64], device });
      x.requiresGrad = true;
      return x;
    };
    const parameters = { a: leaf(4), b: leaf(64), shared: leaf(8), odd: leaf(1) };
    const tied = parameters.shared.alias();
    using optimizer = new AdamW(parameters, { lr: 0.1 });
    assert.equal(parameters.a.buffer, parameters.b.buffer);
    assert.notEqual(parameters.a.buffer, parameters.shared.buffer);
    for (const x of Object.values(parameters)) {
      assert.deepEqual(await x.data(), values.slice(0, x.size));
      sum(mul(x, 3)).backward();
    }
    assert.equal(parameters.a.grad!.buffer, parameters.b.grad!.buffer);
    optimizer.step();
    for (const x of Object.values(parameters)) {
      const after = await x.data();
      assert.ok(after.every((value, i) => Math.abs(value - values[i]) > 0.05));
    }
    assert.deepEqual(await tied.data(), await parameters.shared.data());
  },
);

await onEachDevice(
  "a gradient that is still in use is not overwritten by the next",
  async (device) => {
    using _scope = new Scope();
    const weight = tensor([[1, 2], [3, 4]], { device });
    weight.requiresGrad = true;
    using _optimizer = new AdamW({ weight });
    const x = tensor([[1, 2]], { device });
    const backward = (factor: number) => sum(linear(mul(x, factor), weight)).backward();
    backward(1);
    const first = weight.grad!;
    weight.grad = null;
    backward(3);
    backward(1);
    assert.deepEqual(await first.toArray(), [[1, 2], [1, 2]]);
    assert.deepEqual(await weight.grad!.toArray(), [[4, 8], [4, 8]]);
    first.dispose();
  },
);

await onEachDevice("an input that is there twice gets both gradients", async (device) => {
  using _scope = new Scope();
  const values = [[1, 2], [3, 4]];
  const grads: Tensor[] = [];
  for (const optimized of [false, true]) {
    const x = tensor(values, { device });
    x.requiresGrad = true;
    using _optimizer = optimized ? new AdamW({ x }) : undefined;
    for (let i = 0; i < 2; i++) sum(linear(x, x, undefined, { residual: x })).backward();
    grads.push(x.grad!.alias());
  }
  assert.deepEqual(await grads[0].toArray(), [[18, 26], [18, 26]]);
  await assertTensorsClose(grads[1], grads[0]);
});
