/**
 * Walks `kernels/<family>/*.ts` and compares the implementations of every kernel: SIMD and the GPU programs, those of
 * software adapters and those of GPUs, must give what the reference in plain TypeScript gives, and where a case has
 * values of its own (float64) the reference must give those.
 *
 * Every kernel that a module exports, by itself or in a record, needs cases in a file under `tests/kernels/cases/`,
 * which exports `cases: Case[]` (see `tests/kernels/case.ts`); a kernel without cases fails. Kernels that walk rows
 * have cases with `long` rows. A kernel that says how it is split needs a case with a `limit`, the bytes a binding
 * may have on the device of low limits that the case runs on.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { type TypedArray, viewOf } from "../../src/device/dtype.ts";
import type { Kernel } from "../../src/device/kernel.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { assertCloseEach } from "../support/compare.ts";
import { deviceName, openWebGpuDevices, testDevices } from "../support/devices.ts";
import { isDawn } from "../support/gpu.ts";
import { hardwareProfileGpu } from "../support/hardware_profile.ts";
import { boundLoops, rewritingGpu } from "../support/rewriting_gpu.ts";
import type { Case } from "./case.ts";
import { launchCase } from "./launch_case.ts";

const folder = new URL("../../kernels/", import.meta.url);
const files = [...Deno.readDirSync(folder)]
  .filter((family) => family.isDirectory && family.name !== "wasm")
  .flatMap(({ name }) =>
    [...Deno.readDirSync(new URL(`${name}/`, folder))].map((file) => `${name}/${file.name}`)
  )
  .filter((file) => file.endsWith(".ts")).sort();
const allCases = await casesIn(new URL("./cases/", import.meta.url));
const devices = await testDevices();
const limited = new Map<number, Promise<Device[]>>();
/**
 * Devices with bounded loops: the adapter as it is and with the profile of a GPU. One implementation of WebGPU is
 * enough to see that loops end.
 */
const bounded = devices.length > 1 && !isDawn
  ? await Promise.all(
    [undefined, hardwareProfileGpu()].map((gpu) =>
      WebGpuDevice.open({ gpu: rewritingGpu(boundLoops, gpu) })
    ),
  )
  : [];

for (const file of files) {
  const kernels = kernelsOf(await import(new URL(file, folder).href));
  for (const kernel of kernels) {
    const own = allCases.filter((one) => one.kernel === kernel);
    Deno.test({
      name: `${kernel.name} is the same in every implementation`,
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

async function casesIn(folder: URL): Promise<Case[]> {
  const modules = await Promise.all(
    [...Deno.readDirSync(folder)].map(({ name }) => import(new URL(name, folder).href)),
  );
  return modules.flatMap(({ cases }) => cases as Case[]);
}

async function check(one: Case): Promise<void> {
  const { kernel, bindings, params, tolerance = 1e-5 } = one;
  const reference = copies(bindings);
  kernel.cpu(reference, params);
  const outputs = kernel.slots.filter(({ name, access }) => bindings[name] && access !== "read")
    .map(({ name }) => name);
  const normalise = one.normalise ?? ((results) => results);
  const expected = normalise(reference as Record<string, TypedArray>);
  if (one.exact) {
    const exact = one.exact();
    for (const name in exact) {
      const what = `${name} of the reference`;
      assertCloseEach(expected[name], exact[name], one.exactTolerance ?? tolerance, what);
    }
  }
  for (const device of await devicesFor(one)) {
    const found = normalise(await run(device, one));
    for (const name of outputs) {
      assertCloseEach(found[name], expected[name], tolerance, `${name} on ${deviceName(device)}`);
    }
  }
}

/** The devices of a case; those over WebGPU have low limits where the case asks for it. */
async function devicesFor({ limit, long, bindings }: Case): Promise<Device[]> {
  const [cpu, ...gpus] = devices;
  const half = Object.values(bindings).some((values) => values instanceof Float16Array);
  if (gpus.length === 0 || (half && !gpus[0].dtypes.has("f16"))) return [cpu];
  if (limit === undefined) {
    if (!long) return devices;
    return isDawn ? [cpu, gpus.at(-1)!] : [cpu, gpus[0], ...bounded];
  }
  if (!limited.has(limit)) {
    limited.set(limit, openWebGpuDevices({ limits: { maxStorageBufferBindingSize: limit } }));
  }
  return [cpu, ...await limited.get(limit)!];
}

function copies(bindings: Case["bindings"]): Record<string, TypedArray | undefined> {
  return Object.fromEntries(
    Object.entries(bindings).map(([name, values]) => [name, values?.slice()]),
  );
}

async function run(device: Device, one: Case): Promise<Record<string, TypedArray>> {
  const bound = launchCase(device, one);
  await device.synchronize();
  const results: Record<string, TypedArray> = {};
  for (const { name, access } of one.kernel.slots) {
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
