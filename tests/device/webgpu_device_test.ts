import assert from "node:assert/strict";
import { kernel } from "../../src/device/kernel.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";

const scale = kernel<{ n: number; factor: number }>({
  name: "scale",
  bindings: { x: "read", y: "write" },
  params: { n: "u32", factor: "f32" },
  gpu: ({ n }) => ({
    wgsl: `
alias T = f32;
struct Params { n: u32, factor: f32 }
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> y: array<T>;
@group(0) @binding(2) var<uniform> params: Params;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
  let i = (group.x + group.y * groups.x) * 64u + local;
  if (i >= params.n) { return; }
  y[i] = T(params.factor) * x[i];
}`,
    workgroups: Math.ceil(n / 64),
  }),
  cpu({ x, y }, { n, factor }) {
    for (let i = 0; i < n; i++) y[i] = factor * x[i];
  },
  split: { along: "n", elements: { x: () => 1, y: () => 1 } },
});

Deno.test("WebGpuDevice runs a kernel", async () => {
  const device = await WebGpuDevice.open();
  const n = 1000;
  const a = device.createBuffer(4 * n), b = device.createBuffer(4 * n);
  device.write(a, Float32Array.from({ length: n }, (_, i) => i));
  const x = { buffer: a, dtype: "f32", offset: 0, size: n } as const;
  const y = { buffer: b, dtype: "f32", offset: 0, size: n } as const;
  device.launch(scale, { x, y }, { n, factor: 3 });
  const [bytes] = await device.read([{ buffer: b, byteOffset: 0, byteLength: 4 * n }]);
  const out = new Float32Array(bytes.buffer);
  for (let i = 0; i < n; i++) assert.equal(out[i], 3 * i);
  device.close();
});
