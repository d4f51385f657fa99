import assert from "node:assert/strict";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { layerNorm, rmsNorm } from "../../src/ops/norm.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";
import { testWebGpu } from "../support/devices.ts";
import { assertClose } from "../support/compare.ts";
import { noise, onRowDevices } from "./row_devices.ts";

interface Expected {
  y: Float64Array;
  dx: Float64Array;
  dWeight: Float64Array;
  dBias: Float64Array;
}

/** Either norm and its gradients in float64. */
function reference(
  x: ArrayLike<number>,
  dy: ArrayLike<number>,
  columns: number,
  weight: ArrayLike<number> | undefined,
  bias: ArrayLike<number> | undefined,
  centered: boolean,
): Expected {
  const y = new Float64Array(x.length), dx = new Float64Array(x.length);
  const dWeight = new Float64Array(columns), dBias = new Float64Array(columns);
  for (let first = 0; first < x.length; first += columns) {
    const row = Array.from({ length: columns }, (_, i) => x[first + i]);
    const average = (values: number[]) => values.reduce((a, b) => a + b, 0) / columns;
    const mean = centered ? average(row) : 0;
    const rstd = 1 / Math.sqrt(average(row.map((v) => (v - mean) ** 2)) + 1e-5);
    const h = row.map((v) => (v - mean) * rstd);
    const g = h.map((_, i) => dy[first + i] * (weight?.[i] ?? 1));
    const a = centered ? average(g) : 0, b = average(g.map((value, i) => value * h[i]));
    h.forEach((value, i) => {
      y[first + i] = value * (weight?.[i] ?? 1) + (bias?.[i] ?? 0);
      dx[first + i] = rstd * (g[i] - a - value * b);
      dWeight[i] += dy[first + i] * value;
      dBias[i] += dy[first + i];
    });
  }
  return { y, dx, dWeight, dBias };
}

const SHAPES = [[1, 1], [3, 1], [1, 7], [2, 5, 48], [300, 12], [300, 13], [2, 1500], [2, 3001]];

await onRowDevices("layerNorm() and rmsNorm() agree with float64", async (device) => {
  for (const shape of SHAPES) {
    for (const parts of ["weight bias", "weight", "bias", ""]) {
      if (!parts.includes("weight") && shape.length !== 3) continue;
      const columns = shape.at(-1)!, size = shape.reduce((a, b) => a * b);
      const x = noise(size, 1, 3).map((v) => v + 2), dy = noise(size, 2);
      const w = parts.includes("weight") ? noise(columns, 3) : undefined;
      const b = parts.includes("bias") ? noise(columns, 4) : undefined;
      for (const centered of [true, false]) {
        if (!centered && b) continue;
        using _scope = new Scope();
        const leaf = (values: Float32Array | undefined, shape: number[]): Tensor | undefined => {
          if (!values) return undefined;
          const made = tensor(values, { device, shape });
          made.requiresGrad = true;
          return made;
        };
        const input = leaf(x, shape)!, weight = leaf(w, [columns]), bias = leaf(b, [columns]);
        const y = centered ? layerNorm(input, weight, bias) : rmsNorm(input, weight);
        y.backward(tensor(dy, { device, shape }));
        const expected = reference(x, dy, columns, w, b, centered);
        const what = `${centered ? "layerNorm" : "rmsNorm"} [${shape}] ${parts}`;
        const plain = centered
          ? layerNorm(input.detach(), weight?.detach(), bias?.detach())
          : rmsNorm(input.detach(), weight?.detach());
        // One wait for all: each costs a GPU more than the work does.
        const all = [y, plain, input.grad, weight?.grad, bias?.grad];
        const [found, again, dx, ...rest] = await readTensors(all.filter((one) => !!one));
        assertClose(found, expected.y, 5e-6, what, 1);
        assert.deepEqual(again, found, `${what} without gradient`);
        assertClose(dx, expected.dx, 2e-5, `dx of ${what}`, 1);
        if (weight) assertClose(rest.shift()!, expected.dWeight, 1e-5, `dWeight of ${what}`, 1);
        if (bias) assertClose(rest.shift()!, expected.dBias, 1e-5, `dBias of ${what}`, 1);
        assert.equal(plain.node, null);
      }
    }
  }
});

await onRowDevices("layerNorm() is exact when the offset is large", async (device) => {
  using _scope = new Scope();
  const x = noise(2 * 64, 5).map((v) => v + 1000);
  const y = layerNorm(tensor(x, { device, shape: [2, 64] }));
  const expected = reference(x, x, 64, undefined, undefined, true);
  assertClose(await y.data(), expected.y, 2e-4);
});

await onRowDevices("layerNorm() gives only the gradients that are wanted", async (device) => {
  for (const wanted of ["x", "weight", "bias"] as const) {
    using _scope = new Scope();
    const x = noise(8, 1), dy = noise(8, 2), w = noise(4, 3), b = noise(4, 4);
    const inputs = {
      x: tensor(x, { device, shape: [2, 4] }),
      weight: tensor(w, { device }),
      bias: tensor(b, { device }),
    };
    inputs[wanted].requiresGrad = true;
    layerNorm(inputs.x, inputs.weight, inputs.bias)
      .backward(tensor(dy, { device, shape: [2, 4] }));
    const { dx, dWeight, dBias } = reference(x, dy, 4, w, b, true);
    const expected = { x: dx, weight: dWeight, bias: dBias }[wanted];
    assertClose(await inputs[wanted].grad!.data(), expected, 1e-5, wanted);
    assert.equal(Object.values(inputs).filter((input) => input.grad).length, 1);
  }
});

await onRowDevices("layerNorm() and rmsNorm() take empty tensors", async (device) => {
  for (const shape of [[0, 4], [3, 0]]) {
    using _scope = new Scope();
    const x = tensor(new Float32Array(0), { device, shape });
    const weight = tensor(new Float32Array(shape[1]), { device });
    x.requiresGrad = weight.requiresGrad = true;
    for (const y of [layerNorm(x, weight), rmsNorm(x, weight)]) {
      assert.deepEqual(y.shape, shape);
      y.backward(tensor(new Float32Array(0), { device, shape }));
    }
    assert.equal((await x.grad!.data()).length, 0);
    assert.deepEqual([...await weight.grad!.data()], new Array(shape[1]).fill(0));
  }
});

await onRowDevices("layerNorm() computes in f32 when numbers are f16", async (device) => {
  if (!device.dtypes.has("f16")) return;
  using _scope = new Scope();
  const shape = [200, 20];
  const x = Float16Array.from(noise(4000, 1, 8)), dy = Float16Array.from(noise(4000, 2));
  const w = Float16Array.from(noise(20, 3)), b = noise(20, 4);
  const input = tensor(x, { device, shape }), weight = tensor(w, { device });
  const bias = tensor(b, { device }); // in f32, as it may be
  input.requiresGrad = weight.requiresGrad = bias.requiresGrad = true;
  const y = layerNorm(input, weight, bias);
  y.backward(tensor(dy, { device, shape }));
  const expected = reference(x, dy, 20, w, b, true);
  assertClose(await y.data(), expected.y, 6e-4, "y");
  assertClose(await input.grad!.data(), expected.dx, 6e-4, "dx");
  assertClose(await weight.grad!.data(), expected.dWeight, 6e-4, "dWeight");
  assertClose(await bias.grad!.data(), expected.dBias, 1e-5, "dBias");
  assert.deepEqual([y.dtype, weight.grad!.dtype, bias.grad!.dtype], ["f16", "f16", "f32"]);
});

Deno.test({
  name: "layerNorm() is cut when x is longer than a binding",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    if (!await testWebGpu()) return;
    const limits = { maxStorageBufferBindingSize: 16384 };
    using device = await WebGpuDevice.open({ limits });
    using _scope = new Scope();
    const shape = [1000, 20], x = noise(20000, 1), dy = noise(20000, 2), w = noise(20, 3);
    const input = tensor(x, { device, shape }), weight = tensor(w, { device });
    input.requiresGrad = weight.requiresGrad = true;
    layerNorm(input, weight).backward(tensor(dy, { device, shape }));
    const expected = reference(x, dy, 20, w, undefined, true);
    assertClose(await input.grad!.data(), expected.dx, 1e-5);
    assertClose(await weight.grad!.data(), expected.dWeight, 1e-5);
  },
});

await onRowDevices("layerNorm() and rmsNorm() throw when arguments are wrong", (device) => {
  using _scope = new Scope();
  const x = tensor([[1, 2], [3, 4]], { device }), three = tensor([1, 2, 3], { device });
  assert.throws(() => layerNorm(x, three), {
    name: "TypeError",
    message: "layerNorm: expected a weight of shape [2] for x of shape [2, 2] but got [3]",
  });
  assert.throws(() => layerNorm(x, undefined, three), { name: "TypeError", message: /a bias/ });
  assert.throws(() => rmsNorm(tensor(1, { device })), {
    name: "TypeError",
    message: "rmsNorm: expected at least one axis but got shape []",
  });
  assert.throws(() => rmsNorm(x, undefined, { eps: -1 }), { name: "RangeError" });
  assert.throws(() => rmsNorm(tensor([1], { device, dtype: "i32" })), { name: "TypeError" });
  return Promise.resolve();
});
