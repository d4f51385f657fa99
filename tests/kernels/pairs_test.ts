/**
 * Walks `kernels/*.ts` and holds the doors of every kernel against each other: the plain TypeScript twin is
 * the reference, the WASM SIMD door and the GPU program must give the same, and where a case knows better
 * (float64) the twin itself is checked.
 *
 * Every kernel that a module exports, by itself or in a record, needs cases in the file of the same name
 * under `tests/kernels/cases/`, which exports `cases: Case[]` (see `tests/kernels/case.ts`); a kernel
 * without cases fails. A kernel that says how it is split needs a case with a `limit`, the bytes a binding
 * may have on the device of low limits that the case runs on.
 *
 * @module
 */
import assert from "node:assert/strict";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import type { Binding, Device } from "../../src/device/device.ts";
import { dtypeOf, type TypedArray, viewOf } from "../../src/device/dtype.ts";
import type { Kernel } from "../../src/device/kernel.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { testDevices } from "../support/devices.ts";
import type { Case } from "./case.ts";

const folder = new URL("../../kernels/", import.meta.url);
const files = [...Deno.readDirSync(folder)].map((entry) => entry.name)
  .filter((name) => name.endsWith(".ts")).sort();
const devices = await testDevices();
const limited = new Map<number, Promise<WebGpuDevice>>();

for (const file of files) {
  const kernels = kernelsOf(await import(new URL(file, folder).href));
  if (kernels.length === 0) continue;
  const cases = await casesOf(file);
  for (const kernel of kernels) {
    const own = cases.filter((one) => one.kernel === kernel);
    Deno.test({
      name: `${kernel.name} gives the same through every door`,
      sanitizeResources: false, // devices live as long as the process
      sanitizeOps: false,
      fn: async (context) => {
        assert.ok(own.length > 0, `kernels/${file}: ${kernel.name} has no cases`);
        assert.ok(
          !kernel.split || own.some((one) => one.limit),
          `kernels/${file}: ${kernel.name} is split but has no case with a limit`,
        );
        for (const one of own) await context.step(one.name, () => check(one));
      },
    });
  }
}

/** Kernels among a module's exports and in the records it exports. */
// deno-lint-ignore no-explicit-any -- kernels of any parameters
function kernelsOf(module: Record<string, unknown>): Kernel<any>[] {
  // deno-lint-ignore no-explicit-any -- as above
  const isKernel = (value: unknown): value is Kernel<any> =>
    typeof value === "object" && value !== null && "gpu" in value && "cpu" in value;
  const values = Object.values(module).flatMap((value) =>
    typeof value === "object" && value !== null && !isKernel(value) ? Object.values(value) : [value]
  );
  return [...new Set(values.filter(isKernel))];
}

async function casesOf(file: string): Promise<readonly Case[]> {
  const path = new URL(`./cases/${file}`, import.meta.url);
  try {
    Deno.statSync(path);
  } catch {
    return [];
  }
  return (await import(path.href)).cases;
}

async function check(one: Case): Promise<void> {
  const { kernel, bindings, params, tolerance = 1e-5 } = one;
  const twin = copies(bindings);
  kernel.cpu(twin, params);
  const outputs = kernel.slots.filter(({ name, access }) => bindings[name] && access !== "read")
    .map(({ name }) => name);
  const normalise = one.normalise ?? ((results) => results);
  const expected = normalise(twin as Record<string, TypedArray>);
  if (one.exact) {
    const exact = one.exact();
    for (const name in exact) {
      compare(`${name} of the twin`, expected[name], exact[name], one.exactTolerance ?? tolerance);
    }
  }
  for (const device of await devicesFor(one)) {
    const found = normalise(await run(device, one));
    const which = device instanceof CpuDevice ? "the SIMD door" : "the GPU door";
    for (const name of outputs) {
      compare(`${name} of ${which}`, found[name], expected[name], tolerance);
    }
  }
}

/** The devices of a case; one with low limits stands in for the GPU where the case asks for it. */
async function devicesFor({ limit, bindings }: Case): Promise<Device[]> {
  const [cpu, gpu] = devices;
  const half = Object.values(bindings).some((values) => values instanceof Float16Array);
  if (!gpu || (half && !gpu.dtypes.has("f16"))) return [cpu];
  if (limit === undefined) return [cpu, gpu];
  if (!limited.has(limit)) {
    const limits = { maxStorageBufferBindingSize: limit };
    limited.set(limit, WebGpuDevice.open({ limits }));
  }
  return [cpu, await limited.get(limit)!];
}

function copies(bindings: Case["bindings"]): Record<string, TypedArray | undefined> {
  return Object.fromEntries(
    Object.entries(bindings).map(([name, values]) => [name, values?.slice()]),
  );
}

async function run(device: Device, one: Case): Promise<Record<string, TypedArray>> {
  const { kernel, bindings, params } = one;
  const bound: Record<string, Binding | undefined> = {};
  for (const [name, values] of Object.entries(bindings)) {
    if (!values) continue;
    const bytes = new Uint8Array(Math.ceil(values.byteLength / 4) * 4);
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    const buffer = device.createBuffer(bytes.length);
    if (bytes.length) device.write(buffer, bytes);
    bound[name] = { buffer, dtype: dtypeOf(values), offset: 0, size: values.length };
  }
  device.launch(kernel, bound, params);
  await device.synchronize();
  const results: Record<string, TypedArray> = {};
  for (const { name, access } of kernel.slots) {
    if (!bound[name]) continue;
    const { buffer, dtype, size } = bound[name];
    if (access !== "read") {
      const [bytes] = size
        ? await device.read([{ buffer, byteOffset: 0, byteLength: buffer.bytes }])
        : [new Uint8Array(0)];
      results[name] = viewOf(dtype, bytes.buffer, bytes.byteOffset, size);
    }
    device.releaseBuffer(buffer);
  }
  return results;
}

/** Fails unless each value is as near as `tolerance` times the larger of 1 and its size. */
function compare(
  what: string,
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
): void {
  assert.equal(found.length, expected.length, `${what}: length`);
  for (let i = 0; i < expected.length; i++) {
    const same = Object.is(found[i], expected[i]) || found[i] === expected[i] ||
      Math.abs(found[i] - expected[i]) <= tolerance * Math.max(1, Math.abs(expected[i]));
    assert.ok(same, `${what} at ${i}: expected ${expected[i]} but got ${found[i]}`);
  }
}
