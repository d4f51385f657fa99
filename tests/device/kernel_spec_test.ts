import assert from "node:assert/strict";
import { kernel } from "../../src/device/kernel.ts";
import { sizeOfAxes, wgslHeader } from "../../src/device/kernel_spec.ts";

type RowsParams = { rows: number; columns: number; firstRow: number };

const scaleRows = kernel<RowsParams>({
  name: "scale_rows",
  bindings: {
    dOut: { read: "rows columns" },
    scale: { read: "rows", dtype: "f32" },
    bias: { read: ({ columns }) => columns > 1 ? "columns" : "*", optional: true },
    dX: { update: "rows columns" },
  },
  params: { rows: "u32", columns: "u32", firstRow: "i32" },
  gpu: () => ({ wgsl: "", workgroups: 0 }),
  cpu() {},
});

Deno.test("wgslHeader() writes the struct, the element types and the bindings", () => {
  const params = { rows: 2, columns: 8, firstRow: 0 };
  const header = wgslHeader(scaleRows, params, { dOut: "f16", scale: "f32", dX: "f32" }, "columns");
  assert.equal(
    header,
    `enable f16;
const VECTOR = true;
const WIDTH = 4u;
alias F = vec4<f32>;
struct Params {
  rows: u32,
  columns: u32,
  first_row: i32,
}
@group(0) @binding(4) var<uniform> params: Params;
alias D_OUT = vec4<f16>;
@group(0) @binding(0) var<storage, read> d_out: array<D_OUT>;
alias SCALE = f32;
@group(0) @binding(1) var<storage, read> scale: array<SCALE>;
const HAS_BIAS = false;
alias BIAS = vec4<f32>;
@group(0) @binding(2) var<storage, read> bias: array<BIAS>;
alias D_X = vec4<f32>;
@group(0) @binding(3) var<storage, read_write> d_x: array<D_X>;
`,
  );
});

Deno.test("wgslHeader() reads elements one by one unless an axis is named", () => {
  const params = { rows: 2, columns: 1, firstRow: 0 };
  const dtypes = { dOut: "f32", scale: "f32", bias: "i32", dX: "f32" } as const;
  const header = wgslHeader(scaleRows, params, dtypes);
  assert.match(header, /^const VECTOR = false;\nconst WIDTH = 1u;\nalias F = f32;\n/);
  assert.match(header, /const HAS_BIAS = true;\nalias BIAS = i32;/);
});

Deno.test("a slot knows its access, its type and its axes for the parameters", () => {
  const [dOut, scale, bias, dX] = scaleRows.slots;
  const params = { rows: 3, columns: 5, firstRow: 0 };
  assert.deepEqual([dOut.access, dX.access, dX.variable], ["read", "update", "d_x"]);
  assert.deepEqual([scale.dtype, scale.optional, bias.optional], ["f32", false, true]);
  assert.deepEqual(bias.axes(params), ["columns"]);
  assert.deepEqual(bias.axes({ ...params, columns: 1 }), ["*"]);
  assert.equal(sizeOfAxes(dOut.axes(params), params), 15);
  assert.equal(sizeOfAxes(["2", "rows"], params), 6);
});
