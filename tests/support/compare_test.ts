import assert from "node:assert/strict";
import { tensor } from "../../src/tensor/create.ts";
import { assertClose, assertCloseEach, assertSame, assertTensorsClose } from "./compare.ts";
import { testDevices } from "./devices.ts";

Deno.test("assertSame() says where long arrays differ, at once", () => {
  const long = Float32Array.from({ length: 200_000 }, (_, i) => i);
  const other = long.map((value, i) => i % 2 ? value : value + 1);
  const started = performance.now();
  assertSame(long.slice(), long);
  assert.throws(() => assertSame({ a: [other] }, { a: [long] }, "both"), {
    message: "both, a[0][0]: expected 0 but got 1",
  });
  assert.ok(performance.now() - started < 5000);
});

Deno.test("assertSame() compares as assert.deepEqual does", () => {
  const map = new Map([["a", Float32Array.of(1, NaN)]]);
  assertSame(map, structuredClone(map));
  assertSame({ a: [1, "x", null], b: undefined }, { a: [1, "x", null], b: undefined });
  const different: [unknown, unknown, RegExp][] = [
    [[1, 2], [1, 2, 3], /^Error: value: expected 3 elements but got 2$/],
    [
      Float32Array.of(1),
      Float64Array.of(1),
      /expected Float64Array of 1 but got Float32Array of 1/,
    ],
    [[0], [-0], /value\[0\]: expected 0 but got 0/],
    [[NaN], [1], /value\[0\]: expected 1 but got NaN/],
    [map, new Map([["b", map.get("a")]]), /keys of value\[0\]: expected "b" but got "a"/],
    [{ a: 1 }, { a: 1, b: 1 }, /keys of value: expected 2 elements but got 1/],
    [{ a: 1 }, null, /expected null/],
  ];
  for (const [actual, expected, message] of different) {
    assert.throws(() => assertSame(actual, expected), message);
  }
});

Deno.test("assertClose() and assertCloseEach() name the worst element", () => {
  assertClose([1000, 1.009, NaN, Infinity], [1000, 1, NaN, Infinity], 1e-5);
  assert.throws(() => assertClose([1000, 1.02, 1.03], [1000, 1, 1], 1e-5, "y"), {
    message: "y[2]: expected 1 but got 1.03, more than 0.01 away; so are 2 of 3 elements",
  });
  for (const wrong of [NaN, Infinity, -Infinity]) {
    assert.throws(() => assertClose([wrong], [1], 1e-5), /expected 1 but got/);
    assert.throws(() => assertClose([1], [wrong], 1e-5), /but got 1/);
  }
  assert.throws(() => assertClose([], [1], 1), /expected 1 elements but got 0/);
  assertCloseEach([1000.009, 0.000009], [1000, 0], 1e-5);
  assert.throws(() => assertCloseEach([1000, 1.009], [1000, 1], 1e-5), /\[1\]: expected 1 but got/);
});

Deno.test("assertTensorsClose() compares shapes, too", async () => {
  const [device] = await testDevices();
  using a = tensor([[1, 2]], { device });
  using b = tensor([[1], [2]], { device });
  using c = tensor([[1, 2.1]], { device });
  await assertTensorsClose(a, a);
  await assert.rejects(assertTensorsClose(a, b), /expected shape \[2,1\] but got \[1,2\]/);
  await assert.rejects(assertTensorsClose(a, c), /tensor\[1\]: expected 2.09\d+ but got 2/);
});
