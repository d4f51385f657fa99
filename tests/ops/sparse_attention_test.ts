import assert from "node:assert/strict";
import { mul } from "../../src/ops/elementwise.ts";
import {
  attention,
  attentionWeights,
  sparseAttention,
  sparseAttentionWeights,
} from "../../src/ops/attention.ts";
import { concat, permute, slice } from "../../src/ops/shape.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { randn } from "../../src/ops/random.ts";
import { sum } from "../../src/ops/reduce.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { assertTensorsClose } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";

await onEachDevice("sparseAttention() equals the product with its weights", async (device) => {
  for (const layout of ["BHTD", "BTHD"] as const) {
    for (const [time, blockSize] of [[23, 5], [150, 16], [4, 9], [6, 1]]) {
      using _scope = new Scope();
      const random = new RandomState(5);
      const inOrder = (x: Tensor) => layout === "BHTD" ? x : permute(x, [0, 2, 1, 3]);
      const shape = (heads: number) =>
        layout === "BHTD" ? [2, heads, time, 8] : [2, time, heads, 8];
      const q = randn(shape(4), { device, random });
      // Heads share keys; the product needs them repeated.
      const [k, v] = [1, 2].map(() => randn(shape(layout === "BHTD" ? 4 : 2), { device, random }));
      for (const x of [q, k, v]) x.requiresGrad = true;
      const y = sparseAttention(q, k, v, { blockSize, layout });
      const weights = sparseAttentionWeights(q, k, { blockSize, layout });
      assert.deepEqual(weights.shape, [2, 4, time, time]);
      const heads = [0, 1, 2, 3].map((h) => {
        const kv = layout === "BHTD" ? h : h >> 1;
        return matmul(
          slice(weights, [[0], [h, h + 1]]),
          slice(inOrder(v), [[0], [kv, kv + 1]]),
        );
      });
      const product = inOrder(concat(heads, 1));
      await assertTensorsClose(y, product);

      const dy = randn(y.shape, { device, random });
      sum(mul(y, dy)).backward();
      const grads = [q, k, v].map((x) => x.grad!.alias());
      for (const x of [q, k, v]) x.grad = null;
      sum(mul(product, dy)).backward();
      for (const [i, x] of [q, k, v].entries()) await assertTensorsClose(x.grad!, grads[i], 5e-5);
    }
  }
});

await onEachDevice(
  "sparseAttentionWeights() see the own block and the ends of blocks",
  async (device) => {
    using _scope = new Scope();
    const x = tensor(new Float32Array(7), { device, shape: [1, 1, 7, 1] });
    const rows = await sparseAttentionWeights(x, x, { blockSize: 3 }).toArray() as number[][][][];
    const third = 1 / 3;
    const expected = [
      [1, 0, 0, 0, 0, 0, 0],
      [0.5, 0.5, 0, 0, 0, 0, 0],
      [third, third, third + 1, 0, 0, 0, 0],
      [0, 0, 1, 1, 0, 0, 0],
      [0, 0, 1, 0.5, 0.5, 0, 0],
      [0, 0, 0.5, third, third, third + 0.5, 0],
      [0, 0, 0.5, 0, 0, 0.5, 1],
    ];
    expected.forEach((row, i) =>
      row.forEach((value, j) => assert.ok(Math.abs(rows[0][0][i][j] - value) < 1e-6, `${i} ${j}`))
    );
  },
);

await onEachDevice(
  "sparseAttention() of new queries over a cache equals that of all",
  async (device) => {
    using _scope = new Scope();
    const random = new RandomState(9), [time, capacity, blockSize] = [21, 32, 4];
    const q = randn([2, time, 4, 8], { device, random });
    const [k, v] = [1, 2].map(() => randn([2, capacity, 2, 8], { device, random }));
    const first = (x: Tensor, end: number, start = 0) => slice(x, [[0], [start, end]]);
    const options = { blockSize, layout: "BTHD" } as const;
    const all = sparseAttention(q, first(k, time), first(v, time), options);
    for (const [start, end] of [[0, time], [0, 1], [3, 4], [7, 8], [20, 21], [9, 18]]) {
      const cached = { ...options, keyLength: end };
      const some = first(q, end, start);
      await assertTensorsClose(sparseAttention(some, k, v, cached), first(all, end, start));
      const weights = sparseAttentionWeights(q, first(k, time), options);
      await assertTensorsClose(
        sparseAttentionWeights(some, k, cached),
        slice(weights, [[0], [0], [start, end], [0, end]]),
      );
    }
  },
);

await onEachDevice(
  "attention() and sparseAttention() take rows at their own positions",
  async (device) => {
    using _scope = new Scope();
    const random = new RandomState(2), [time, capacity] = [21, 32];
    const at = [0, 7, 12, 20], batch = at.length;
    const q = randn([batch, time, 4, 8], { device, random });
    const [k, v] = [1, 2].map(() => randn([batch, capacity, 2, 8], { device, random }));
    const filled = (x: Tensor) => slice(x, [[0], [0, time]]);
    const rowsAt = (x: Tensor) => concat(at.map((t, b) => slice(x, [[b, b + 1], [t, t + 1]])), 0);
    const positions = tensor(Int32Array.from(at), { device });
    const [layout, keyLength] = ["BTHD" as const, time];

    const sparse = sparseAttention(q, filled(k), filled(v), { blockSize: 4, layout });
    const ragged = { layout, keyLength, positions };
    const found = sparseAttention(rowsAt(q), k, v, { blockSize: 4, ...ragged });
    await assertTensorsClose(found, rowsAt(sparse));
    const dense = attention(q, filled(k), filled(v), { causal: true, layout });
    await assertTensorsClose(
      attention(rowsAt(q), k, v, { causal: true, ...ragged }),
      rowsAt(dense),
    );

    const weightsAt = (x: Tensor) =>
      concat(at.map((t, b) => slice(x, [[b, b + 1], [0], [t, t + 1]])), 0);
    await assertTensorsClose(
      sparseAttentionWeights(rowsAt(q), k, { blockSize: 4, ...ragged }),
      weightsAt(sparseAttentionWeights(q, filled(k), { blockSize: 4, layout })),
    );
    await assertTensorsClose(
      attentionWeights(rowsAt(q), k, { causal: true, ...ragged }),
      weightsAt(attentionWeights(q, filled(k), { causal: true, layout })),
    );

    assert.throws(
      () => attention(rowsAt(q), k, v, ragged),
      /expected causal attention with positions/,
    );
    const wrong = { blockSize: 4, layout, positions: tensor([1, 2], { device, dtype: "i32" }) };
    assert.throws(() => sparseAttention(q, k, v, wrong), /expected positions \[4\] of i32/);
    q.requiresGrad = true;
    assert.throws(() => attention(q, k, v, { causal: true, ...ragged }), /expected noGrad where/);
    noGrad(() => attention(q, k, v, { causal: true, ...ragged }));
  },
);

await onEachDevice("sparseAttention() says what is wrong", (device) => {
  using _scope = new Scope();
  const x = randn([1, 2, 5, 8], { device });
  assert.throws(() => sparseAttention(x, x, x, { blockSize: 0 }), {
    name: "RangeError",
    message: "sparseAttention: expected a blockSize of 1 or more but got 0",
  });
  assert.throws(() => sparseAttention(x, x, x, { blockSize: 2, keyLength: 6 }), {
    name: "RangeError",
    message: "sparseAttention: expected a keyLength from 0 to 5 but got 6",
  });
  const short = randn([1, 2, 4, 8], { device });
  assert.throws(
    () => sparseAttention(x, x, short, { blockSize: 2 }),
    /^TypeError: sparseAttention: expected q/,
  );
});
