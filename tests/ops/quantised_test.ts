// Matrices of f16 beside x of f32 and quantised ones give what their dequantised numbers give, on every device.
import assert from "node:assert/strict";
import { type MatmulParams, matmulParams } from "../../kernels/gemm/params.ts";
import { quantisedMatmuls } from "../../kernels/gemm/quantised_matmul.ts";
import type { Device } from "../../src/device/device.ts";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import type { GpuTarget } from "../../src/device/kernel.ts";
import { decodeGgml, encodeGgml } from "../../src/io/ggml_blocks.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { LLaMA } from "../../src/models/llama.ts";
import { Linear } from "../../src/nn/layers.ts";
import { type MatrixType, quantize } from "../../src/nn/quantize.ts";
import { assignFloats } from "../../src/nn/state_dict.ts";
import { cast } from "../../src/ops/elementwise.ts";
import { embedding } from "../../src/ops/index.ts";
import { linearCrossEntropy } from "../../src/ops/loss.ts";
import { batchInvariant, linear, matmul } from "../../src/ops/matmul.ts";
import { reshape, slice, transpose } from "../../src/ops/shape.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { Tensor } from "../../src/tensor/tensor.ts";
import { assertClose, assertSame } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";

const TYPES = ["f16", "q8_0", "q4_0"] as const;

function numbers(count: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = Math.imul(state, 1664525) + 1013904223 | 0;
    return state / 2 ** 31;
  });
}

/** As `onEachDevice`, on those that have the type. */
async function onEachWith(
  dtype: MatrixType,
  name: string,
  body: (device: Device) => Promise<void>,
): Promise<void> {
  await onEachDevice(
    name,
    async (device) => {
      if (dtype !== "f16" || device.dtypes.has("f16")) await body(device);
    },
  );
}

/** A matrix of a type, and the same numbers in f32. */
async function matrices(
  device: Device,
  dtype: MatrixType,
  rows: number,
  columns: number,
): Promise<[quantised: Tensor, plain: Tensor]> {
  const quantised = Tensor.empty(device, [rows, columns], dtype);
  assignFloats(quantised, numbers(rows * columns, 7));
  const values = Float32Array.from(await quantised.data());
  return [quantised, tensor(values, { device, shape: [rows, columns] })];
}

for (const dtype of TYPES) {
  // One row and a few, as in decoding, and many, as in prefill; odd numbers of blocks and of columns.
  // deno-fmt-ignore
  const sizes = [[1, 32, 5], [1, 96, 37], [1, 256, 130], [3, 160, 66], [16, 64, 9], [17, 96, 33], [70, 128, 140]];
  // Rows of f16 are of any length.
  if (dtype === "f16") sizes.push([1, 37, 11], [2, 5, 3], [6, 45, 34], [9, 13, 130]);
  await onEachWith(dtype, `linear() multiplies with a weight of ${dtype}`, async (device) => {
    for (const [rows, inputs, outputs] of sizes as [number, number, number][]) {
      using _scope = new Scope();
      const [quantised, plain] = await matrices(device, dtype, outputs, inputs);
      const x = tensor(numbers(rows * inputs, 3), { device, shape: [rows, inputs] });
      const bias = tensor(numbers(outputs, 5), { device });
      const residual = tensor(numbers(rows * outputs, 6), { device, shape: [rows, outputs] });
      const expected = await linear(x, plain, bias, { residual }).data();
      const found = await linear(x, quantised, bias, { residual }).data();
      // The CPU rounds few rows to 8 bits a number, as llama.cpp does, and many to 7; WebGPU few to 16.
      const isRounded = device.kind === "cpu" && dtype !== "f16";
      const tolerance = isRounded ? rows > 16 ? 0.02 : 0.01 : dtype === "f16" ? 1e-5 : 2e-4;
      assertClose(found, expected, tolerance, `${rows} x ${inputs} x ${outputs}`);
      const product = await matmul(x, quantised, { transposeB: true }).data();
      assertClose(product, await matmul(x, plain, { transposeB: true }).data(), tolerance);
    }
  });

  await onEachWith(
    dtype,
    `gradients flow through a weight of ${dtype}${dtype === "f16" ? " and" : ", not"} into it`,
    async (device) => {
      using _scope = new Scope();
      const [quantised, plain] = await matrices(device, dtype, 70, 96);
      const gradients: Tensor[] = [];
      for (const weight of [quantised, plain]) {
        const x = tensor(numbers(5 * 96, 3), { device, shape: [5, 96] });
        x.requiresGrad = true;
        if (dtype === "f16") weight.requiresGrad = true;
        const seed = tensor(numbers(5 * 70, 4), { device, shape: [5, 70] });
        linear(x, weight).backward(seed);
        matmul(x, weight, { transposeB: true }).backward(seed);
        gradients.push(x.grad!);
      }
      assertClose(await gradients[0]!.data(), await gradients[1]!.data(), 1e-5);
      if (dtype === "f16") {
        assert.equal(quantised.grad!.dtype, "f16");
        assertClose(await quantised.grad!.data(), await plain.grad!.data(), 2e-3);
        return;
      }
      assert.throws(
        () => quantised.requiresGrad = true,
        /expected a tensor of f32 or f16 but got q[84]_0/,
      );
      assert.equal(quantised.requiresGrad, false);
    },
  );

  await onEachWith(
    dtype,
    `embedding() and linearCrossEntropy() take a weight of ${dtype}`,
    async (device) => {
      using _scope = new Scope();
      const [quantised, plain] = await matrices(device, dtype, 11, 96);
      const ids = tensor([[3, 0], [10, 3]], { device, dtype: "i32" });
      const rows = cast(embedding(quantised, ids), "f32");
      assert.deepEqual(rows.shape, [2, 2, 96]);
      assertClose(await rows.data(), await embedding(plain, ids).data(), 1e-6);
      const targets = tensor([1, 10, 0, 5], { device, dtype: "i32" });
      const losses: number[] = [], gradients: Tensor[] = [];
      for (const weight of [quantised, plain]) {
        const hidden = reshape(rows, [4, 96]).detach();
        hidden.requiresGrad = true;
        const loss = linearCrossEntropy(hidden, weight, targets);
        losses.push(await loss.item());
        loss.backward();
        gradients.push(hidden.grad!);
      }
      const tolerance = device.kind === "cpu" && dtype !== "f16" ? 0.01 : 5e-4; // as above
      assertClose([losses[0]!], [losses[1]!], tolerance);
      assertClose(await gradients[0]!.data(), await gradients[1]!.data(), tolerance);
    },
  );
}

await onEachDevice("batchInvariant() holds for quantised weights", async (device) => {
  using _scope = new Scope();
  for (const dtype of TYPES) {
    if (dtype === "f16" && !device.dtypes.has("f16")) continue;
    const [quantised] = await matrices(device, dtype, 37, 160);
    const x = tensor(numbers(20 * 160, 3), { device, shape: [20, 160] });
    const all = await batchInvariant(() => linear(x, quantised)).data();
    const alone = await batchInvariant(() => linear(slice(x, [[13, 14]]), quantised)).data();
    assertSame(alone, all.slice(13 * 37, 14 * 37));
  }
});

Deno.test("what is special in f16 is so in products with x of f32", async () => {
  using device = CpuDevice.open({ threads: 2 });
  // Subnormals, zeros, the least normal number and the largest, of both signs; and infinities and NaN.
  const finite = [2 ** -24, 1023 * 2 ** -24, 0, 2 ** -14, 65504, 0.3, 600 * 2 ** -24, 1]
    .flatMap((x) => [x, -x]);
  const k = 3 * finite.length + 5;
  const rows = [
    Float32Array.from({ length: k }, (_, i) => Math.f16round(finite[i * 7 % finite.length]!)),
    Float32Array.from({ length: k }, (_, i) => (i % 5 - 2) * 2 ** -24),
    ...[Infinity, -Infinity, NaN].map((special) =>
      new Float32Array(k).fill(0.5).fill(special, 9, 10)
    ),
    new Float32Array(k).fill(-2),
  ];
  const shape = [rows.length, k];
  const values = Float16Array.from(rows.flatMap((row) => [...row]));
  const weight = tensor(values, { device, shape, dtype: "f16" });
  for (const m of [1, 3, 20]) {
    using _scope = new Scope();
    const x = numbers(m * k, 3).map((x) => x + 1.5);
    const found = await linear(tensor(x, { device, shape: [m, k] }), weight).data();
    const expected = Array.from({ length: m * rows.length }, (_, i) => {
      const row = rows[i % rows.length]!, at = Math.floor(i / rows.length) * k;
      return row.reduce((sum, w, l) => sum + w * x[at + l]!, 0);
    });
    for (let j = 0; j < rows.length; j++) {
      const column = (all: ArrayLike<number>) =>
        Array.from({ length: m }, (_, i) => all[i * rows.length + j]!);
      // Subnormals are as exact as numbers of 2^-15.
      assertClose(column(found), column(expected), 1e-6, `row ${j} by ${m}`, 2 ** -15);
    }
  }
});

await onEachDevice("operations that do not take quantised tensors say so", async (device) => {
  using _scope = new Scope();
  const [quantised] = await matrices(device, "q8_0", 4, 32);
  assert.throws(() => matmul(quantised, quantised), /matmul: expected f32 or f16 but got .*q8_0/);
  assert.throws(() => transpose(quantised, 0, 1), /q8_0/);
  assert.throws(() => tensor([1], { device, dtype: "q8_0" }), /q8_0/);
  assert.throws(
    () => Tensor.empty(device, [2, 16], "q8_0"),
    /rows of a multiple of 32 numbers for q8_0 but got \[2, 16\]/,
  );
});

const SIZES = {
  vocabSize: 50,
  maxPositionEmbeddings: 16,
  hiddenSize: 64,
  intermediateSize: 96,
  numHiddenLayers: 1,
  numAttentionHeads: 2,
};
for (const dtype of TYPES) {
  for (const Model of [LLaMA, GPT2]) {
    await onEachWith(
      dtype,
      `quantize() of a ${Model.name} in ${dtype} gives what its numbers give`,
      async (device) => {
        using _scope = new Scope();
        using model = await quantize(
          new Model(SIZES, { device, random: new RandomState(2) }),
          dtype,
        );
        using plain = new Model(SIZES, { device, random: null });
        const parameters = [...model.parameters()];
        const tied = Model === GPT2 ? "wte.weight" : "model.embed_tokens.weight";
        assert.equal(model.parameters().get(tied)!.dtype, dtype);
        for (const [name, parameter] of parameters) {
          const isMatrix = parameter.shape.length === 2 && name !== "wpe.weight";
          assert.equal(parameter.dtype, isMatrix ? dtype : "f32", name);
          assert.equal(parameter.requiresGrad, !isMatrix, name);
          assignFloats(plain.parameters().get(name)!, Float32Array.from(await parameter.data()));
        }
        const ids = tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]], { device, dtype: "i32" });
        const expected = await noGrad(() => plain.logits(ids)).data();
        const tolerance = device.kind === "cpu" && dtype !== "f16" ? 0.02 : 5e-4;
        assertClose(await noGrad(() => model.logits(ids)).data(), expected, tolerance);
        const cache = model.createCache(2);
        const last = await model.nextLogits(ids, { cache }).data();
        const rows = [expected.slice(4 * 50, 5 * 50), expected.slice(9 * 50)];
        assertClose(last, [...rows[0]!, ...rows[1]!], tolerance);
        // Training goes on in what is not quantised.
        model.unfreeze();
        model.loss(ids, ids).backward();
        const norm = parameters.find(([name]) => /norm|ln_/.test(name))![1];
        assert.ok(norm.grad);
      },
    );
  }
}

const QUANTISED = ["q8_0", "q4_0"] as const;

for (const dtype of QUANTISED) {
  await onEachWith(
    dtype,
    `rounding a row to integers costs a product with ${dtype} no more than it costs llama.cpp`,
    async (device) => {
      using _scope = new Scope();
      const [k, n] = [256, 36];
      const [matrix, plain] = await matrices(device, dtype, n, k);
      const row = numbers(k, 3), weights = await plain.data();
      const times = (x: Float32Array) =>
        Array.from(
          { length: n },
          (_, j) => x.reduce((sum, a, i) => sum + a * weights[j * k + i]!, 0),
        );
      const exact = times(row);
      const error = (found: ArrayLike<number>) =>
        Math.hypot(...exact.map((value, j) => found[j]! - value));
      const product = (x: Float32Array) =>
        matmul(tensor(x, { device, shape: [1, k] }), matrix, { transposeB: true }).data();
      const rounded = times(decodeGgml("Q8_0", encodeGgml("Q8_0", row)));
      // 8 bits, with a scale that is not rounded to f16; and 16 bits.
      const share = device.kind === "cpu" ? 1.1 : 1 / 50;
      assert.ok(error(await product(row)) < share * error(rounded));
      for (const special of [NaN, Infinity]) {
        const found = await product(row.with(40, special));
        assert.ok(found.every((value) => !Number.isFinite(value)), `${special}`);
      }
      const tiny = await product(row.map((x) => x * 1e-36));
      assert.ok(tiny.every((value) => Math.abs(value) < 1e-34));
    },
  );
}

Deno.test("GPUs multiply a row in whole blocks as integers where WGSL has dot4I8Packed", () => {
  const target = { dtypes: {}, packedDots: true, minWorkgroups: 1 } as unknown as GpuTarget;
  const dots = (options: Partial<MatmulParams>, packedDots = true) => {
    const params = matmulParams({ m: 1, n: 64, k: 64, transposeB: 1, ...options });
    return quantisedMatmuls.q8_0.gpu!(params, { ...target, packedDots }).constants!.DOTS;
  };
  assert.equal(dots({}), true);
  assert.equal(dots({}, false), false);
  assert.equal(dots({ transposeB: 0 }), false);
  assert.equal(dots({ ldb: 96, bOffset: 16 }), false);
  assert.equal(dots({ batchInvariant: 1 }), undefined); // another program
});

await onEachDevice(
  "a quantised tensor goes to another device and into a file and back",
  async (device) => {
    using _scope = new Scope();
    using layer = await quantize(new Linear(64, 3, { device, random: new RandomState(1) }), "q4_0");
    const copy = await layer.weight.to(device);
    assertSame(await copy.data(), await layer.weight.data());
    assert.equal(layer.weight.bytes, 256 + 12);
    const path = await Deno.makeTempFile({ suffix: ".safetensors" });
    await layer.saveWeights(path);
    using plain = new Linear(64, 3, { device, random: null });
    await plain.loadWeights(path);
    assertSame(await plain.weight.data(), await layer.weight.data());
    await Deno.remove(path);
  },
);
