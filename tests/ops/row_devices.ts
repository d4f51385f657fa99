/**
 * The devices that row-wise operations are tested on: those of `testDevices`, and the software GPU posing as
 * hardware, so that the kernels with workgroup memory are tested where there is no other GPU.
 *
 * @module
 */
import type { Device } from "../../src/device/device.ts";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { testDevices, testWebGpu } from "../support/devices.ts";

/** `navigator.gpu` with adapters that do not say that they are software. */
export function posingGpu(): GPU {
  const pose = (adapter: GPUAdapter): GPUAdapter =>
    new Proxy(adapter, {
      get(target, key) {
        const value = Reflect.get(target, key, target);
        if (key === "info") {
          const { subgroupMinSize, subgroupMaxSize } = target.info;
          return { description: "posing as hardware", subgroupMinSize, subgroupMaxSize };
        }
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  return {
    requestAdapter: async (options?: GPURequestAdapterOptions) => {
      const adapter = await navigator.gpu.requestAdapter(options);
      return adapter && pose(adapter);
    },
  } as GPU;
}

/** A name for messages, and the device. */
export async function rowDevices(): Promise<readonly (readonly [string, Device])[]> {
  const devices: [string, Device][] = (await testDevices()).map((device) => [device.kind, device]);
  devices.push(["twin", CpuDevice.open({ threads: 1, simd: false })]);
  if (await testWebGpu()) {
    devices.push(["posing webgpu", await WebGpuDevice.open({ gpu: posingGpu() })]);
  }
  return devices;
}

let opened: Promise<readonly (readonly [string, Device])[]> | undefined;

/** Registers one test per device. Call it with `await` at the top of a test file. */
export async function onRowDevices(
  name: string,
  test: (device: Device) => Promise<void>,
): Promise<void> {
  for (const [kind, device] of await (opened ??= rowDevices())) {
    Deno.test({
      name: `${name} [${kind}]`,
      sanitizeResources: false,
      sanitizeOps: false,
      fn: () => test(device),
    });
  }
}

/** Numbers that look random and are always the same. */
export function noise(length: number, seed: number, scale = 1): Float32Array {
  let state = seed * 2654435761 >>> 0;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * scale;
  });
}

/** Throws unless all numbers agree within `tolerance` of the largest expected one, or of `least`; NaN agrees with NaN. */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what = "",
  least = 0,
): void {
  if (actual.length !== expected.length) {
    throw new Error(`${what}: ${actual.length} numbers, expected ${expected.length}`);
  }
  let largest = least;
  for (let i = 0; i < expected.length; i++) {
    if (Number.isFinite(expected[i])) largest = Math.max(largest, Math.abs(expected[i]));
  }
  for (let i = 0; i < expected.length; i++) {
    if (Object.is(actual[i], expected[i]) || actual[i] === expected[i]) continue;
    if (!(Math.abs(actual[i] - expected[i]) <= tolerance * (largest || 1))) {
      throw new Error(`${what}: element ${i} is ${actual[i]}, expected ${expected[i]}`);
    }
  }
}
