/**
 * The devices that row-wise operations are tested on: those of `testDevices`, and the CPU device without SIMD, which
 * runs the reference implementations.
 *
 * @module
 */
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import type { Device } from "../../src/device/device.ts";
import { onDevice, onEachDevice } from "../support/devices.ts";

let reference: CpuDevice | undefined;

/** Registers one test per device. Call it with `await` at the top of a test file. */
export async function onRowDevices(
  name: string,
  test: (device: Device) => void | Promise<void>,
): Promise<void> {
  await onEachDevice(name, test);
  onDevice(name, reference ??= CpuDevice.open({ threads: 1, simd: false }), test, "reference");
}

/** Numbers that look random and are always the same. */
export function noise(length: number, seed: number, scale = 1): Float32Array {
  let state = seed * 2654435761 >>> 0;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * scale;
  });
}
