import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { softcap } from "../../src/ops/activations.ts";
import { crossEntropy, type CrossEntropyOptions, linearCrossEntropy } from "../../src/ops/loss.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { onEachDevice, testWebGpu } from "../support/devices.ts";
import { assertClose } from "../support/compare.ts";
import { noise, onRowDevices } from "./row_devices.ts";

/** Loss and gradient of the logits, in float64. */
function reference(
  logits: ArrayLike<number>,
  targets: ArrayLike<number>,
  classes: number,
  { ignoreIndex = -100, labelSmoothing: s = 0 }: CrossEntropyOptions = {},
): { loss: number; dLogits: Float64Array } {
  const dLogits = new Float64Array(logits.length);
  const counted = Array.from(targets).filter((target) => target !== ignoreIndex).length;
  let loss = 0;
  for (let row = 0; row < targets.length; row++) {
    if (targets[row] === ignoreIndex) continue;
    const x = Array.from({ length: classes }, (_, i) => logits[row * classes + i]);
    const top = x.reduce((a, b) => Math.max(a, b));
    const lse = top + Math.log(x.reduce((sum, v) => sum + Math.exp(v - top), 0));
    x.forEach((v, i) => {
      const wanted = s / classes + (i === targets[row] ? 1 - s : 0);
      loss -= wanted * (v - lse);
      dLogits[row * classes + i] = (Math.exp(v - lse) - wanted) / counted;
    });
  }
  return { loss: loss / counted, dLogits };
}

function ids(length: number, classes: number): Int32Array {
  return Int32Array.from({ length }, (_, i) => (i * 7919 + 3) % classes);
}

await onRowDevices("crossEntropy() agrees with float64 for rows of any length", async (device) => {
  for (const classes of [1, 2, 11, 300, 1500, 50304]) {
    for (const labelSmoothing of [0, 0.1]) {
      using _scope = new Scope();
      const rows = classes > 10000 ? 3 : 13;
      const options = { ignoreIndex: 3, labelSmoothing };
      const x = noise(rows * classes, 5, 6), targets = ids(rows, classes);
      const logits = tensor(x, { device, shape: [rows, classes] });
      logits.requiresGrad = true;
      const loss = crossEntropy(logits, tensor(targets, { device }), options);
      assert.deepEqual(loss.shape, []);
      loss.backward(2.5);
      const expected = reference(x, targets, classes, options);
      const what = `${classes} classes, smoothing ${labelSmoothing}`;
      assertClose([await loss.item()], [expected.loss], 5e-6, what, 0.1);
      const gradient = expected.dLogits.map((d) => 2.5 * d);
      assertClose(await logits.grad!.data(), gradient, 1e-5, `gradient of ${what}`, 0.01);
    }
  }
});

await onRowDevices("crossEntropy() adds the losses up or leaves them single", async (device) => {
  using _scope = new Scope();
  const classes = 5, shape = [2, 3];
  const x = noise(6 * classes, 5, 3);
  const targets = Int32Array.of(1, 4, 0, 2, 2, 3);
  const options = { ignoreIndex: 4, labelSmoothing: 0.1 };
  const rows = Array.from(targets, (target, row) => {
    const own = x.slice(row * classes, (row + 1) * classes);
    return target === 4
      ? { loss: 0, dLogits: new Float64Array(classes) }
      : reference(own, [target], classes, options);
  });
  const ids = tensor(targets, { device, shape });
  const logits = tensor(x, { device, shape: [...shape, classes] });
  logits.requiresGrad = true;
  const total = crossEntropy(logits, ids, { ...options, reduction: "sum" });
  assert.deepEqual(total.shape, []);
  assertClose(await total.data(), [rows.reduce((sum, { loss }) => sum + loss, 0)], 1e-5);
  total.backward(3);
  const slopes = (weights: number[]) =>
    rows.flatMap(({ dLogits }, row) => [...dLogits].map((slope) => weights[row] * slope));
  assertClose(await logits.grad!.data(), slopes(Array(6).fill(3)), 1e-5, "gradient of the sum");

  const weights = [1, 2, -0.5, 0, 4, 0.25];
  for (const dtype of ["f32", "f16"] as const) {
    if (!device.dtypes.has(dtype)) continue;
    const logits = tensor(x, { device, dtype, shape: [...shape, classes] });
    logits.requiresGrad = true;
    const losses = crossEntropy(logits, ids, { ...options, reduction: "none" });
    assert.deepEqual([losses.shape, losses.dtype], [shape, "f32"]);
    const [near, what] = dtype === "f32" ? [1e-5, "f32"] : [4e-3, "f16"];
    assertClose(await losses.data(), rows.map(({ loss }) => loss), near, what);
    losses.backward(tensor(weights, { device, shape }));
    assertClose(await logits.grad!.data(), slopes(weights), near, `gradient in ${what}`);
  }
  assert.throws(
    () => crossEntropy(logits, ids, { reduction: "max" as "mean" }),
    /crossEntropy: expected reduction "mean", "sum" or "none" but got "max"/,
  );
});

await onRowDevices("crossEntropy() has an exact gradient next to large logits", async (device) => {
  using _scope = new Scope();
  const x = noise(6 * 12, 5, 3).map((value) => Math.fround(value + 5000));
  const targets = ids(6, 12);
  const logits = tensor(x, { device, shape: [6, 12] });
  logits.requiresGrad = true;
  crossEntropy(logits, tensor(targets, { device })).backward();
  assertClose(await logits.grad!.data(), reference(x, targets, 12).dLogits, 1e-5);
});

await onRowDevices(
  "crossEntropy() takes the shapes of a model when there are more",
  async (device) => {
    using _scope = new Scope();
    const x = noise(2 * 3 * 5, 6), targets = ids(6, 5);
    const logits = tensor(x, { device, shape: [2, 3, 5] });
    const loss = crossEntropy(logits, tensor(targets, { device, shape: [2, 3], dtype: "u32" }));
    assertClose([await loss.item()], [reference(x, targets, 5).loss], 1e-6);
  },
);

await onRowDevices("crossEntropy() is NaN without gradient when all is ignored", async (device) => {
  for (const rows of [0, 3]) {
    using _scope = new Scope();
    const logits = tensor(noise(rows * 4, 7), { device, shape: [rows, 4] });
    logits.requiresGrad = true;
    const targets = tensor(new Int32Array(rows).fill(-100), { device });
    const loss = crossEntropy(logits, targets);
    loss.backward();
    assert.ok(Number.isNaN(await loss.item()));
    assert.deepEqual([...await logits.grad!.data()], new Array(rows * 4).fill(0));
  }
});

await onRowDevices("crossEntropy() refuses a target that is no class", async (device) => {
  for (const wrong of [5, -1, 2 ** 31 - 1]) {
    using _scope = new Scope();
    const hidden = tensor(noise(3 * 4, 8), { device, shape: [3, 4] });
    const weight = tensor(noise(5 * 4, 9), { device, shape: [5, 4] });
    const logits = tensor(noise(3 * 5, 8), { device, shape: [3, 5] });
    logits.requiresGrad = hidden.requiresGrad = true;
    const targets = tensor([0, wrong, -100], { device, dtype: "i32" });
    const ways = [
      () => crossEntropy(logits, targets),
      () => linearCrossEntropy(hidden, weight, targets),
    ];
    for (const run of ways) {
      if (device.kind === "cpu") {
        assert.throws(run, {
          name: "RangeError",
          message: `crossEntropy: expected a class from 0 to 4 or -100 to ignore it but got ` +
            `${wrong} as the target of row 1`,
        });
      } else {
        const loss = run();
        loss.backward();
        assert.ok(Number.isNaN(await loss.item()), `${wrong}`);
      }
    }
    if (device.kind === "webgpu") {
      const gradient = await logits.grad!.data();
      assert.deepEqual([5, 9].map((i) => Number.isNaN(gradient[i])), [true, true]);
      assert.deepEqual([...gradient.slice(10)], [0, 0, 0, 0, 0]);
    }
  }
});

await onRowDevices("linearCrossEntropy() agrees with float64 in chunks", async (device) => {
  const rows = 150, width = 12;
  for (const [classes, chunk] of [[40, 64], [43, 64], [40, undefined]] as const) {
    for (const labelSmoothing of [0, 0.1]) {
      using _scope = new Scope();
      const options = { ignoreIndex: 7, labelSmoothing, chunkRows: chunk };
      const h = noise(rows * width, 1), w = noise(classes * width, 2), targets = ids(rows, classes);
      const hidden = tensor(h, { device, shape: [3, rows / 3, width] });
      const weight = tensor(w, { device, shape: [classes, width] });
      hidden.requiresGrad = weight.requiresGrad = true;
      const shaped = tensor(targets, { device, shape: [3, rows / 3] });
      const loss = linearCrossEntropy(hidden, weight, shaped, options);
      loss.backward(0.5);
      const expected = linearReference(h, w, targets, width, classes, options);
      assertClose([await loss.item()], [expected.loss], 3e-6);
      const half = (values: Float64Array) => values.map((value) => value / 2);
      assertClose(await hidden.grad!.data(), half(expected.dHidden), 1e-5, "hidden");
      assertClose(await weight.grad!.data(), half(expected.dWeight), 1e-5, "weight");
      assert.deepEqual(hidden.grad!.shape, hidden.shape);
      const plain = linearCrossEntropy(hidden.detach(), weight.detach(), shaped, options);
      assertClose([await plain.item()], [expected.loss], 3e-6, "without gradient");
      assert.equal(plain.node, null);
    }
  }
});

await onEachDevice("linearCrossEntropy() caps logits as softcap() does", async (device) => {
  const rows = 150, width = 12;
  for (const [classes, chunkRows] of [[40, 64], [43, undefined]] as const) {
    using _scope = new Scope();
    const make = () => {
      const hidden = tensor(noise(rows * width, 1), { device, shape: [rows, width] });
      const weight = tensor(noise(classes * width, 2), { device, shape: [classes, width] });
      hidden.requiresGrad = weight.requiresGrad = true;
      return { hidden, weight };
    };
    const [one, two] = [make(), make()];
    const targets = tensor(ids(rows, classes), { device });
    const options = { ignoreIndex: 7 };
    const loss = linearCrossEntropy(one.hidden, one.weight, targets, {
      ...{ ...options, chunkRows, softcap: 1.5 },
    });
    loss.backward(0.5);
    const logits = matmul(two.hidden, two.weight, { transposeB: true });
    const expected = crossEntropy(softcap(logits, 1.5), targets, options);
    expected.backward(0.5);
    assertClose([await loss.item()], [await expected.item()], 3e-6);
    for (const name of ["hidden", "weight"] as const) {
      assertClose(await one[name].grad!.data(), await two[name].grad!.data(), 1e-5, name);
    }
    assert.throws(
      () => linearCrossEntropy(one.hidden, one.weight, targets, { softcap: -1 }),
      /linearCrossEntropy: expected a softcap above 0 but got -1/,
    );
  }
});

await onEachDevice("linearCrossEntropy() adds a bias as one more column would", async (device) => {
  const rows = 150, width = 7, classes = 43, all = width + 1;
  const targets = ids(rows, classes);
  // The last column of the weight is the bias, that of hidden is 1.
  const h = noise(rows * all, 1).map((value, i) => i % all === width ? 1 : value);
  const w = noise(classes * all, 2);
  const without = (values: ArrayLike<number>) =>
    Float32Array.from(values).filter((_, i) => i % all !== width);
  const lastOf = (values: ArrayLike<number>) =>
    Float32Array.from(values).filter((_, i) => i % all === width);
  for (const dtype of ["f32", "f16"] as const) {
    if (!device.dtypes.has(dtype)) continue;
    using _scope = new Scope();
    const options = { ignoreIndex: 7, labelSmoothing: 0.1, chunkRows: 64 };
    const expected = linearReference(h, w, targets, all, classes, options);
    const inputs = { hidden: without(h), weight: without(w), bias: lastOf(w) };
    const hidden = tensor(inputs.hidden, { device, dtype, shape: [rows, width] });
    const weight = tensor(inputs.weight, { device, dtype, shape: [classes, width] });
    const bias = tensor(inputs.bias, { device, dtype });
    bias.requiresGrad = true;
    const ids = tensor(targets, { device });
    const loss = linearCrossEntropy(hidden, weight, ids, { ...options, bias });
    loss.backward(64);
    const [near, exact] = dtype === "f32" ? [1e-5, 3e-6] : [2e-2, 1e-2];
    assertClose([await loss.item()], [expected.loss], exact);
    const scaled = (values: Float64Array) => values.map((value) => value * 64);
    assertClose(await bias.grad!.data(), lastOf(scaled(expected.dWeight)), near, "bias");
    assert.deepEqual([bias.grad!.dtype, hidden.grad, weight.grad], [dtype, null, null]);
    hidden.requiresGrad = weight.requiresGrad = true;
    linearCrossEntropy(hidden, weight, ids, { ...options, bias }).backward(64);
    assertClose(await hidden.grad!.data(), without(scaled(expected.dHidden)), near, "hidden");
    assertClose(await weight.grad!.data(), without(scaled(expected.dWeight)), near, "weight");
  }
});

await onRowDevices("linearCrossEntropy() gives one gradient when one is wanted", async (device) => {
  for (const which of ["hidden", "weight"]) {
    using _scope = new Scope();
    const h = noise(6 * 4, 3), w = noise(5 * 4, 4), targets = ids(6, 5);
    const hidden = tensor(h, { device, shape: [6, 4] });
    const weight = tensor(w, { device, shape: [5, 4] });
    (which === "hidden" ? hidden : weight).requiresGrad = true;
    linearCrossEntropy(hidden, weight, tensor(targets, { device })).backward();
    const expected = linearReference(h, w, targets, 4, 5, {});
    if (which === "hidden") assertClose(await hidden.grad!.data(), expected.dHidden, 1e-5);
    else assertClose(await weight.grad!.data(), expected.dWeight, 1e-5);
    assert.equal((which === "hidden" ? weight : hidden).grad, null);
  }
});

await onRowDevices("linearCrossEntropy() keeps small f16 gradients when scaled", async (device) => {
  if (!device.dtypes.has("f16")) return;
  using _scope = new Scope();
  const rows = 64, width = 8, classes = 512;
  const h = Float16Array.from(noise(rows * width, 5)),
    w = Float16Array.from(noise(classes * width, 6));
  const targets = ids(rows, classes);
  const hidden = tensor(h, { device, shape: [rows, width] });
  const weight = tensor(w, { device, shape: [classes, width] });
  hidden.requiresGrad = weight.requiresGrad = true;
  const loss = linearCrossEntropy(hidden, weight, tensor(targets, { device }));
  loss.backward(1024);
  const expected = linearReference(h, w, targets, width, classes, {});
  assertClose([await loss.item()], [expected.loss], 1e-4);
  const scaled = (values: Float64Array) => values.map((value) => value * 1024);
  assertClose(await weight.grad!.data(), scaled(expected.dWeight), 2e-3, "weight");
  assertClose(await hidden.grad!.data(), scaled(expected.dHidden), 2e-3, "hidden");
  assert.equal(weight.grad!.dtype, "f16");
});

await onRowDevices(
  "crossEntropy() and linearCrossEntropy() free what they used",
  async (device) => {
    const step = () => {
      using _scope = new Scope();
      const hidden = tensor(noise(20 * 4, 5), { device, shape: [20, 4] });
      const weight = tensor(noise(9 * 4, 6), { device, shape: [9, 4] });
      hidden.requiresGrad = weight.requiresGrad = true;
      const targets = tensor(ids(20, 9), { device });
      linearCrossEntropy(hidden, weight, targets).backward();
      linearCrossEntropy(hidden, weight, targets); // never asked for
      const logits = tensor(noise(20 * 9, 7), { device, shape: [20, 9] });
      logits.requiresGrad = true;
      crossEntropy(logits, targets).backward();
      crossEntropy(logits, targets);
    };
    const before = device.memory().live;
    for (let i = 0; i < 3; i++) step();
    await device.synchronize();
    assert.equal(device.memory().live, before);
  },
);

await onRowDevices("linearCrossEntropy() never holds all logits", async (device) => {
  using _scope = new Scope();
  const rows = 640, width = 8, classes = 4000;
  const hidden = tensor(noise(rows * width, 5), { device, shape: [rows, width] });
  const weight = tensor(noise(classes * width, 6), { device, shape: [classes, width] });
  hidden.requiresGrad = weight.requiresGrad = true;
  const targets = tensor(ids(rows, classes), { device });
  const before = device.memory().live;
  device.resetPeak();
  const loss = linearCrossEntropy(hidden, weight, targets, { chunkRows: 64 });
  loss.backward();
  assert.ok(device.memory().peak - before < rows * classes * 4 / 5);
  await loss.item();
});

await onRowDevices("crossEntropy() throws when shapes, dtypes or options are wrong", (device) => {
  using _scope = new Scope();
  const logits = tensor([[1, 2], [3, 4]], { device });
  const targets = tensor([0, 1], { device, dtype: "i32" });
  assert.throws(() => crossEntropy(logits, tensor([0], { device, dtype: "i32" })), {
    name: "TypeError",
    message: "crossEntropy: expected a target for each row of shape [2, 2], so of shape [2], " +
      "but got [1]",
  });
  assert.throws(() => crossEntropy(logits, logits), { name: "TypeError", message: /ids/ });
  assert.throws(() => crossEntropy(targets, targets), { name: "TypeError", message: /f32/ });
  assert.throws(() => crossEntropy(logits, targets, { labelSmoothing: 1.5 }), {
    name: "RangeError",
    message: "crossEntropy: expected label smoothing from 0 to 1 but got 1.5",
  });
  assert.throws(() => crossEntropy(logits, targets, { ignoreIndex: 0.5 }), { name: "RangeError" });
  const narrow = tensor([[1, 2, 3]], { device });
  assert.throws(() => linearCrossEntropy(logits, narrow, targets), {
    name: "TypeError",
    message: "linearCrossEntropy: expected a weight of shape [V, 2] for hidden of shape [2, 2] " +
      "but got [1, 3]",
  });
  assert.throws(() => linearCrossEntropy(logits, logits, targets, { bias: narrow }), {
    name: "TypeError",
    message: "linearCrossEntropy: expected a bias of shape [2] but got [1, 3]",
  });
  assert.throws(() => linearCrossEntropy(logits, logits, targets, { chunkRows: 0 }), {
    name: "RangeError",
  });
  return Promise.resolve();
});

Deno.test({
  name: "crossEntropy() and linearCrossEntropy() are cut when tensors are longer than a binding",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    if (!await testWebGpu()) return;
    const limits = { maxStorageBufferBindingSize: 16384 };
    using device: Device = await WebGpuDevice.open({ limits });
    using _scope = new Scope();
    const rows = 300, width = 80, classes = 60, targets = ids(rows, classes);
    const x = noise(rows * classes, 1);
    const logits = tensor(x, { device, shape: [rows, classes] });
    logits.requiresGrad = true;
    crossEntropy(logits, tensor(targets, { device })).backward();
    const expected = reference(x, targets, classes);
    assertClose(await logits.grad!.data(), expected.dLogits, 1e-5);

    const h = noise(rows * width, 2), w = noise(classes * width, 3);
    const hidden = tensor(h, { device, shape: [rows, width] });
    const weight = tensor(w, { device, shape: [classes, width] });
    hidden.requiresGrad = weight.requiresGrad = true;
    const loss = linearCrossEntropy(hidden, weight, tensor(targets, { device }));
    loss.backward();
    const whole = linearReference(h, w, targets, width, classes, {});
    assertClose([await loss.item()], [whole.loss], 3e-6);
    assertClose(await hidden.grad!.data(), whole.dHidden, 1e-5, "hidden");
    assertClose(await weight.grad!.data(), whole.dWeight, 1e-5, "weight");
  },
});

function linearReference(
  h: ArrayLike<number>,
  w: ArrayLike<number>,
  targets: Int32Array,
  width: number,
  classes: number,
  options: CrossEntropyOptions,
): { loss: number; dHidden: Float64Array; dWeight: Float64Array } {
  const rows = targets.length;
  const logits = new Float64Array(rows * classes);
  const each = (visit: (row: number, column: number, i: number) => void) => {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < classes; column++) {
        for (let i = 0; i < width; i++) visit(row, column, i);
      }
    }
  };
  each((row, column, i) =>
    logits[row * classes + column] += h[row * width + i] * w[column * width + i]
  );
  const { loss, dLogits } = reference(logits, targets, classes, options);
  const dHidden = new Float64Array(rows * width), dWeight = new Float64Array(classes * width);
  each((row, column, i) => {
    const d = dLogits[row * classes + column];
    dHidden[row * width + i] += d * w[column * width + i];
    dWeight[column * width + i] += d * h[row * width + i];
  });
  return { loss, dHidden, dWeight };
}

await onEachDevice(
  "a logit of -infinity costs nothing where it is not the target",
  async (device) => {
    // Rows of 5 and of 8, read one by one and in fours.
    for (const classes of [5, 8]) {
      for (const dtype of (["f32", "f16"] as const).filter((dtype) => device.dtypes.has(dtype))) {
        const row = Float32Array.from({ length: classes }, (_, i) => i === 2 ? -Infinity : i / 4);
        const sum = row.reduce((all, x) => all + Math.exp(x), 0);
        const p = Array.from(row, (x) => Math.exp(x) / sum);
        const targets = tensor([1], { dtype: "i32", device });
        const expected = p.map((x, i) => x - (i === 1 ? 1 : 0));
        const tolerance = dtype === "f16" ? 2e-3 : 1e-6;

        const logits = tensor(row, { shape: [1, classes], dtype, device });
        logits.requiresGrad = true;
        const loss = crossEntropy(logits, targets);
        loss.backward();
        const near = (found: ArrayLike<number>, wanted: ArrayLike<number>) => {
          for (let i = 0; i < wanted.length; i++) {
            const where = `${dtype}, ${classes} classes, at ${i}`;
            assert.ok(Math.abs(found[i] - wanted[i]) <= tolerance, `${where}: ${found[i]}`);
          }
        };
        near([await loss.item()], [-Math.log(p[1])]);
        near(await logits.grad!.data(), expected);

        // The same through a linear map whose third row gives -infinity.
        const hidden = tensor([[1]], { dtype, device });
        const weight = tensor(row, { shape: [classes, 1], dtype, device });
        hidden.requiresGrad = true;
        const fused = linearCrossEntropy(hidden, weight, targets);
        near([await fused.item()], [-Math.log(p[1])]);
      }
    }
  },
);
