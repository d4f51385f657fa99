import assert from "node:assert/strict";
import { add, exp, mul, square } from "../../src/ops/elementwise.ts";
import { sum } from "../../src/ops/reduce.ts";
import { reshape } from "../../src/ops/shape.ts";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { ones, tensor } from "../../src/tensor/create.ts";
import { Scope, scoped } from "../../src/tensor/scope.ts";
import { noGrad, record } from "../../src/tensor/tape.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import type { Device } from "../../src/device/device.ts";
import { onEachDevice } from "../support/devices.ts";

function leaf(values: number[], device: Device): Tensor {
  const x = tensor(values, { device });
  x.requiresGrad = true;
  return x;
}

await onEachDevice("backward() adds up over every path to a leaf", async (device) => {
  using _scope = new Scope();
  const x = leaf([1, 2, 3], device);
  const y = add(mul(x, x), x); // x^2 + x
  sum(add(y, y)).backward();
  assert.deepEqual(await x.grad!.toArray(), [6, 10, 14]);
});

await onEachDevice("backward() accumulates from call to call, and takes a seed", async (device) => {
  using _scope = new Scope();
  const x = leaf([1, 2], device);
  sum(square(x)).backward();
  sum(square(x)).backward(0.5);
  assert.deepEqual(await x.grad!.toArray(), [3, 6]);
  square(x).backward(tensor([1, 10], { device }));
  assert.deepEqual(await x.grad!.toArray(), [5, 46]);
});

await onEachDevice("a gradient that is passed on unchanged is not overwritten", async (device) => {
  using _scope = new Scope();
  const a = leaf([1, 1], device);
  const b = leaf([2, 2], device);
  const both = add(a, b); // the same gradient goes to a and to b
  sum(add(both, mul(a, 3))).backward();
  sum(a).backward();
  assert.deepEqual(await a.grad!.toArray(), [5, 5]);
  assert.deepEqual(await b.grad!.toArray(), [1, 1]);
});

await onEachDevice("detach() and noGrad() stop gradients", async (device) => {
  using _scope = new Scope();
  const x = leaf([2], device);
  sum(mul(x.detach(), x)).backward();
  assert.deepEqual(await x.grad!.toArray(), [2]);
  const y = noGrad(() => exp(x));
  assert.equal(y.requiresGrad, false);
  assert.throws(() => y.backward(), /depends on one that requires a gradient/);
  assert.throws(
    () => tensor([1], { device, dtype: "i32" }).requiresGrad = true,
    /expected a tensor of f32 or f16 but got i32/,
  );
});

await onEachDevice("backward() says what is wrong", (device) => {
  using _scope = new Scope();
  const x = leaf([1, 2], device);
  assert.throws(() => exp(x).backward(), /output of shape \[2\] but got none/);
  assert.throws(
    () => exp(x).backward(tensor([1], { device })),
    /backward: expected a gradient of shape \[2\] and f32 for the output but got \[1\] and f32/,
  );
  const y = sum(exp(x));
  y.backward();
  assert.throws(() => y.backward(), /not gone through yet but got sum again/);
});

await onEachDevice(
  "backward() refuses what an operation wrongly gives for a gradient",
  (device) => {
    using _scope = new Scope();
    using other = CpuDevice.open({ threads: 1 });
    const x = leaf([1, 2], device);
    const y = leaf([3, 4], device);
    const wrong: [() => (Tensor | null)[], string][] = [
      [() => [null], "expected 2 gradients, one per input, but got 1"],
      [() => [ones([2], { device }), null], "[2] and f32 for input 1 but got none"],
      [
        () => [ones([2], { device }), ones([1, 2], { device })],
        "[2] and f32 for input 1 but got [1, 2] and f32",
      ],
      [
        () => [ones([1], { device }), ones([2], { device })],
        "[2] and f32 for input 0 but got [1] and f32",
      ],
      [
        () => [ones([2], { device }), ones([2], { device, dtype: "i32" })],
        "[2] and f32 for input 1 but got [2] and i32",
      ],
      [
        () => [ones([2], { device: other }), ones([2], { device })],
        "[2] and f32 for input 0 but got [2] and f32, on another device",
      ],
    ];
    for (const [backward, message] of wrong) {
      const output = record("my_op", [x, y], ones([2], { device }), [], backward);
      assert.throws(
        () => output.backward(ones([2], { device })),
        (error: Error) =>
          error instanceof TypeError && error.message.startsWith("backward of my_op: expected") &&
          error.message.endsWith(message),
        message,
      );
      assert.deepEqual([x.grad, y.grad], [null, null], message);
    }
    // What nobody asked for may be left out, or be anything.
    const constant = ones([3], { device });
    record("my_op", [x, constant], ones([2], { device }), [], (g) => [g, null])
      .backward(ones([2], { device }));
    assert.throws(
      () => exp(x).backward(ones([2], { device, dtype: "i32" })),
      /backward: expected .* but got \[2\] and i32/,
    );
  },
);

await onEachDevice("gradients pass through tensors that were disposed of", async (device) => {
  using _scope = new Scope();
  const x = leaf([1, 2], device);
  const loss = scoped(() => {
    const y = scoped(() => square(mul(x, 2)));
    return sum(add(y, mul(y, x)));
  });
  loss.backward(); // 4 x^2 + 4 x^3
  assert.deepEqual(await x.grad!.toArray(), [20, 64]);
});

await onEachDevice("the tape frees what it kept, used or not", (device) => {
  const x = leaf([1, 2, 3, 4], device);
  const before = device.memory();
  for (let i = 0; i < 3; i++) {
    using _scope = new Scope();
    const y = sum(reshape(exp(square(x)), [2, 2]));
    if (i > 0) y.backward(); // the first time nobody asks
    x.grad?.dispose();
    x.grad = null;
  }
  assert.deepEqual(
    [device.memory().live, device.memory().buffers],
    [before.live, before.buffers],
  );
  x.dispose();
});
