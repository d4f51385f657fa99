import assert from "node:assert/strict";
import type { Binding, DeviceBuffer } from "../../src/device/device.ts";
import { kernel } from "../../src/device/kernel.ts";
import { needsSplit, splitLaunch } from "../../src/device/splitting.ts";

const buffer = {} as DeviceBuffer;
const f32 = (size: number, offset = 0): Binding => ({ buffer, dtype: "f32", offset, size });

const rows = kernel<{ rows: number; width: number; first: number }>({
  name: "rows",
  bindings: {
    x: { read: "rows width" },
    weight: { read: "width", optional: true },
    y: { write: "rows" },
  },
  params: { rows: "u32", width: "u32", first: "u32" },
  gpu: () => ({ wgsl: "", workgroups: 0 }),
  cpu() {},
  split: "rows",
  splitStart: "first",
});

Deno.test("splitLaunch() returns the launch itself when it fits", () => {
  const bindings = { x: f32(100), y: f32(10) };
  const params = { rows: 10, width: 10, first: 0 };
  const pieces = splitLaunch(rows, bindings, params, {
    maxBindingBytes: 400,
    bindingAlignment: 256,
  });
  assert.equal(pieces.length, 1);
  assert.equal(pieces[0].bindings, bindings);
  assert.equal(pieces[0].params, params);
  assert.equal(needsSplit(bindings, 399), true);
});

Deno.test("splitLaunch() covers all units once, aligned and below the limit", () => {
  for (const [count, width, limit, alignment] of [[100, 12, 1024, 32], [1000, 64, 65536, 256]]) {
    const bindings = { x: f32(count * width, 64), weight: f32(width), y: f32(count, 128) };
    const params = { rows: count, width, first: 5 };
    const pieces = splitLaunch(rows, bindings, params, {
      maxBindingBytes: limit,
      bindingAlignment: alignment,
    });
    let done = 0;
    for (const piece of pieces) {
      const { x, weight, y } = piece.bindings;
      assert.equal(piece.params.first, 5 + done);
      assert.equal(x!.offset, 64 + done * width);
      assert.equal(x!.size, piece.params.rows * width);
      assert.equal(y!.offset, 128 + done);
      assert.equal(y!.size, piece.params.rows);
      assert.equal(weight, bindings.weight);
      assert.equal(x!.offset * 4 % alignment, 0);
      assert.equal(y!.offset * 4 % alignment, 0);
      assert.ok(x!.size * 4 <= limit);
      done += piece.params.rows;
    }
    assert.equal(done, count);
    assert.ok(pieces.length > 1);
  }
});

Deno.test("splitLaunch() takes as many units at a time as fit", () => {
  // 20 rows of 48 bytes fit in 1,024 bytes; 16 of them end on a multiple of 32 bytes in x and in y.
  const pieces = splitLaunch(
    rows,
    { x: f32(1200), y: f32(100) },
    { rows: 100, width: 12, first: 0 },
    { maxBindingBytes: 1024, bindingAlignment: 32 },
  );
  assert.deepEqual(pieces.map((piece) => piece.params.rows), [16, 16, 16, 16, 16, 16, 4]);
});

Deno.test("splitLaunch() names kernel, binding, bytes and limit when it cannot split", () => {
  const limits = { maxBindingBytes: 1024, bindingAlignment: 256 };
  const params = { rows: 100, width: 12, first: 0 };
  const { split: _, ...whole } = rows;
  assert.throws(
    () => splitLaunch(whole, { x: f32(1200), y: f32(100) }, params, limits),
    /kernel "rows": expected binding "x" to span at most the 1024 .* got 4800, .* cannot be split/,
  );
  assert.throws(
    () => splitLaunch(rows, { x: f32(1200), weight: f32(1000), y: f32(100) }, params, limits),
    /binding "weight" .* at most the 1024 bytes .* got 4000, .* does not advance with rows/,
  );
  assert.throws(
    () => splitLaunch(rows, { x: f32(1200), y: f32(4) }, { rows: 4, width: 300, first: 0 }, limits),
    /expected 64 of rows at a time, .* binding "x" aligned, .* the 1024 bytes .* got 1200 bytes for each/,
  );
});
