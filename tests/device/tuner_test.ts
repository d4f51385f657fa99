import assert from "node:assert/strict";
import type { GpuTarget } from "../../src/device/kernel.ts";
import { kernel } from "../../src/device/kernel.ts";
import { WebGpuDevice, type WebGpuOptions } from "../../src/device/webgpu/webgpu_device.ts";
import { batchInvariant, linear, matmul } from "../../src/ops/matmul.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { Tensor } from "../../src/tensor/tensor.ts";
import { assertClose } from "../support/compare.ts";
import { testGpu } from "../support/gpu.ts";
import { hardwareProfileGpu } from "../support/hardware_profile.ts";

type SpinParams = { n: number };

/** Counts for long and writes 1; told that a workgroup has 128 invocations at most, it does not count and writes 0. */
const spin = kernel<SpinParams>({
  name: "spin",
  bindings: { y: { write: "n", dtype: "f32" } },
  params: { n: "u32" },
  gpu: ({ n }, { maxInvocations }: GpuTarget) => ({
    wgsl: `
const STEPS = 1u;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.n) { return; }
  var sum = 0u;
  // Not to be folded: the bound comes from a parameter.
  for (var i = 0u; i < STEPS * params.n / params.n * 20000u; i++) { sum += (sum ^ i) & 1u; }
  y[id.x] = f32(STEPS + (sum >> 31u)); // never so large
}`,
    constants: { STEPS: maxInvocations > 128 ? 1 : 0 },
    workgroups: Math.ceil(n / 64),
    flops: 2e6,
  }),
  cpu() {},
});

async function open(options: WebGpuOptions = {}): Promise<WebGpuDevice> {
  return await WebGpuDevice.open({ gpu: testGpu, ...options });
}

const N = 16384;

/** Launches `spin` so often; what the last launch wrote. */
async function launch(device: WebGpuDevice, times: number): Promise<number> {
  using y = Tensor.empty(device, [N], "f32");
  for (let i = 0; i < times; i++) {
    device.launch(spin, { y }, { n: N });
    await y.data();
  }
  return (await y.data() as Float32Array)[5]!;
}

Deno.test("tuning keeps the fastest program of a kernel, in memory and in localStorage", async () => {
  localStorage.clear();
  using device = await open({ tune: "on" });
  assert.deepEqual(device.programChoices(), {});
  assert.equal(await launch(device, 7), 0);
  const [[key, name], ...others] = Object.entries(device.programChoices());
  assert.match(key!, /^spin f32/);
  assert.equal(name, "128 invocations");
  assert.deepEqual(others, []);

  using next = await open({ tune: "on" });
  assert.deepEqual(next.programChoices(), device.programChoices());
  using again = await open({ tune: "again" });
  assert.deepEqual(again.programChoices(), {});
  using off = await open();
  assert.deepEqual(off.programChoices(), {});
  localStorage.clear();
});

Deno.test("choices of a checkpoint are taken up by a device that does not tune", async () => {
  localStorage.clear();
  using tuned = await open({ tune: "on" });
  await launch(tuned, 7);
  localStorage.clear();
  using device = await open();
  device.restoreProgramChoices({});
  assert.equal(await launch(device, 1), 1);
  device.restoreProgramChoices(tuned.programChoices());
  assert.equal(await launch(device, 1), 0);
  assert.deepEqual(device.programChoices(), tuned.programChoices());
});

/** `x^T x` of a matrix with few columns and many rows, so often; what each gave. */
async function products(device: WebGpuDevice, times: number): Promise<Float32Array[]> {
  using _scope = new Scope();
  const values = Float32Array.from({ length: 4096 * 36 }, (_, i) => (i * 7919 % 1000) / 1000);
  const x = tensor(values, { shape: [4096, 36], device });
  const results = [];
  for (let i = 0; i < times; i++) {
    results.push(await matmul(x, x, { transposeA: true }).data() as Float32Array);
  }
  return results;
}

Deno.test("a product that is split along k is timed against the whole one, and repeats exactly", async () => {
  localStorage.clear();
  const gpu = hardwareProfileGpu();
  using tuned = await open({ gpu, tune: "on" });
  const [first, ...others] = await products(tuned, 7);
  for (const other of others) assertClose(other, first, 1e-5);
  const [[key, name], ...more] = Object.entries(tuned.programChoices());
  assert.match(key, /^matmul f32,f32,f32 /);
  assert.match(name, /^(as it is|one workgroup)$/);
  assert.deepEqual(more, []);
  localStorage.clear();

  for (const name of ["as it is", "one workgroup"]) {
    const compiled: string[] = [];
    using device = await open({ gpu, onCompile: (kernel) => compiled.push(kernel) });
    device.restoreProgramChoices({ [key]: name });
    const [once, again] = await products(device, 2);
    assert.deepEqual(again, once);
    assertClose(once, first, 1e-5);
    assert.deepEqual(compiled, name === "as it is" ? ["matmul", "matmul_sum"] : ["matmul"]);
  }
});

Deno.test("batch-invariant products are not tuned, as the fastest program depends on the batch", async () => {
  localStorage.clear();
  const compiled: string[] = [];
  const gpu = hardwareProfileGpu();
  using device = await open({ gpu, tune: "on", onCompile: (kernel) => compiled.push(kernel) });
  using _scope = new Scope();
  const x = tensor(new Float32Array(64 * 4096).fill(1), { shape: [64, 4096], device });
  for (let i = 0; i < 7; i++) await batchInvariant(() => linear(x, x)).data();
  assert.deepEqual(compiled, ["matmul", "matmul_sum"]);
  assert.deepEqual(device.programChoices(), {});
});
