import assert from "node:assert/strict";
import { logSoftmax, softmax } from "../../src/ops/softmax.ts";
import { alongAxis } from "../../src/ops/launch.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { sizeOf } from "../../src/tensor/shape.ts";
import { assertClose } from "../support/compare.ts";
import { noise, onRowDevices } from "./row_devices.ts";

/** Softmax or its logarithm and the gradient, in float64. */
function reference(
  x: Float32Array,
  dy: Float32Array,
  shape: number[],
  axis: number,
  log: boolean,
): { y: Float64Array; dx: Float64Array } {
  const { outer, columns, inner } = alongAxis(shape, axis);
  const y = new Float64Array(x.length), dx = new Float64Array(x.length);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      const row = Array.from({ length: columns }, (_, c) => (o * columns + c) * inner + i);
      const top = Math.max(...row.map((at) => x[at]));
      const sum = row.reduce((sum, at) => sum + Math.exp(x[at] - top), 0);
      const p = row.map((at) => Math.exp(x[at] - top) / sum);
      const total = row.reduce((total, at, c) => total + dy[at] * (log ? 1 : p[c]), 0);
      row.forEach((at, c) => {
        y[at] = log ? x[at] - top - Math.log(sum) : p[c];
        dx[at] = log ? dy[at] - p[c] * total : p[c] * (dy[at] - total);
      });
    }
  }
  return { y, dx };
}

const SHAPES: [number[], number][] = [
  [[5, 1], -1],
  [[1, 7], -1],
  [[9, 8], 1],
  [[3, 1500], 1],
  [[2, 50304], 1],
  [[3, 5, 4], 0],
  [[3, 5, 7], 1],
  [[2, 130, 3], 1],
  [[11], 0],
];

await onRowDevices(
  "softmax() and logSoftmax() agree with float64 on every axis",
  async (device) => {
    for (const [shape, axis] of SHAPES) {
      for (const log of [false, true]) {
        using _scope = new Scope();
        const x = noise(sizeOf(shape), 1, 8), dy = noise(sizeOf(shape), 2);
        const input = tensor(x, { device, shape });
        input.requiresGrad = true;
        const output = (log ? logSoftmax : softmax)(input, { axis });
        output.backward(tensor(dy, { device, shape }));
        const { columns } = alongAxis(shape, axis < 0 ? axis + shape.length : axis);
        const expected = reference(x, dy, shape, axis < 0 ? axis + shape.length : axis, log);
        const what = `${log ? "logSoftmax" : "softmax"} [${shape}] axis ${axis}`;
        assertClose(await output.data(), expected.y, 2e-6 + 4e-10 * columns, what);
        // The gradient is a difference of numbers as large as the softmax itself.
        const least = log ? 0 : Math.max(...expected.y);
        assertClose(
          await input.grad!.data(),
          expected.dx,
          5e-6 + 4e-10 * columns,
          `gradient of ${what}`,
          least,
        );
      }
    }
  },
);

await onRowDevices("softmax() treats infinities as PyTorch when rows hold them", async (device) => {
  using _scope = new Scope();
  const x = [[-Infinity, 1, 1], [-Infinity, -Infinity, -Infinity], [1e30, -1e30, 1e30]];
  const y = await softmax(tensor(x, { device })).toArray();
  assert.deepEqual(y, [[0, 0.5, 0.5], [NaN, NaN, NaN], [0.5, 0, 0.5]]);
  const wide = tensor([[0, -Infinity, -Infinity, 0], new Array(4).fill(-Infinity)], { device });
  assert.deepEqual(await softmax(wide).toArray(), [[0.5, 0, 0, 0.5], [NaN, NaN, NaN, NaN]]);
  const log = await logSoftmax(wide).data();
  assertClose(log.slice(0, 4), [-Math.LN2, -Infinity, -Infinity, -Math.LN2], 1e-6);
  assert.ok(log.slice(4).every(Number.isNaN));
});

await onRowDevices("softmax() gives nothing when an axis is empty", async (device) => {
  for (const [shape, axis] of [[[0, 4], 1], [[4, 0], 1], [[2, 0, 3], 1], [[2, 3, 0], 1]] as const) {
    using _scope = new Scope();
    const x = tensor(new Float32Array(0), { device, shape });
    x.requiresGrad = true;
    for (const op of [softmax, logSoftmax]) {
      const y = op(x, { axis });
      assert.deepEqual(y.shape, shape);
      y.backward(tensor(new Float32Array(0), { device, shape }));
      assert.equal((await x.grad!.data()).length, 0);
    }
  }
});

await onRowDevices("softmax() computes in f32 when numbers are f16", async (device) => {
  if (!device.dtypes.has("f16")) return;
  for (const columns of [12, 13, 3000]) {
    using _scope = new Scope();
    const half = Float16Array.from(noise(3 * columns, 3, 4));
    const shape = [3, columns];
    const { y } = reference(Float32Array.from(half), noise(3 * columns, 4), shape, 1, false);
    assertClose(await softmax(tensor(half, { device, shape })).data(), y, 6e-4, `${columns}`);
  }
});

await onRowDevices("softmax() throws when the axis or the dtype is wrong", async (device) => {
  using _scope = new Scope();
  const x = tensor([[1, 2]], { device });
  assert.throws(() => softmax(x, { axis: 2 }), {
    name: "RangeError",
    message: "softmax: expected an axis of shape [1, 2] but got 2",
  });
  const ids = tensor([1, 2], { device, dtype: "i32" });
  assert.throws(() => logSoftmax(ids), { name: "TypeError", message: /logSoftmax: expected f32/ });
  await Promise.resolve();
});
