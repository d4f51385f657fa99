/**
 * The devices that tests run on: the CPU device, WebGPU where there is an adapter, and where that is a software one
 * (as in CI) the same adapter again with the profile of a GPU, which runs other programs. With
 * DINOGRAD_REQUIRE_WEBGPU=1 a missing adapter is an error, so that CI cannot pass without it.
 *
 * @module
 */
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import type { Device } from "../../src/device/device.ts";
import { WebGpuDevice, type WebGpuOptions } from "../../src/device/webgpu/webgpu_device.ts";
import { isDawn } from "./gpu.ts";
import { HARDWARE_PROFILE, hardwareProfileGpu } from "./hardware_profile.ts";

let opened: Promise<Device[]> | undefined;

/** The CPU device first, then those over WebGPU; opened once per process and closed at its end. */
export function testDevices(): Promise<Device[]> {
  return opened ??= open().then((devices) => {
    // A driver that is torn down under an open device can crash the process as it ends.
    addEventListener("unload", () => devices.forEach((device) => device.close()));
    return devices;
  });
}

/** The WebGPU device of {@linkcode testDevices} as its adapter is; undefined where there is no adapter. */
export async function testWebGpu(): Promise<WebGpuDevice | undefined> {
  return (await testDevices()).find((device) => device instanceof WebGpuDevice);
}

/** What tests call a device: its kind, or that it has the profile of a GPU. */
export function deviceName({ kind, description }: Device): string {
  return description.startsWith(HARDWARE_PROFILE) ? HARDWARE_PROFILE : kind;
}

/**
 * Registers one test per device, named after both. Call it with `await` at the top of a test file. On Dawn it is one
 * test, of the programs of GPUs: the CPU device has had its turn in the first pass.
 */
export async function onEachDevice(
  name: string,
  test: (device: Device) => void | Promise<void>,
): Promise<void> {
  const devices = await testDevices();
  for (const device of isDawn ? devices.slice(-1) : devices) onDevice(name, device, test);
}

/** Registers a test on a device, whose name is added. */
export function onDevice(
  name: string,
  device: Device,
  test: (device: Device) => void | Promise<void>,
  label = deviceName(device),
): void {
  Deno.test({
    name: `${name} [${label}]`,
    // The devices and their threads live as long as the process.
    sanitizeResources: false,
    sanitizeOps: false,
    fn: async () => {
      await test(device);
      await device.synchronize();
    },
  });
}

/** WebGPU devices of the adapter as it is and, where that is a software one, with the profile of a GPU. */
export async function openWebGpuDevices(options: WebGpuOptions = {}): Promise<WebGpuDevice[]> {
  const plain = await WebGpuDevice.open(options);
  if (!plain.software) return [plain];
  return [plain, await WebGpuDevice.open({ ...options, gpu: hardwareProfileGpu() })];
}

async function open(): Promise<Device[]> {
  const devices: Device[] = [CpuDevice.open()];
  try {
    devices.push(...await openWebGpuDevices());
  } catch (error) {
    const required = Deno.permissions.querySync({
      name: "env",
      variable: "DINOGRAD_REQUIRE_WEBGPU",
    });
    if (required.state === "granted" && Deno.env.get("DINOGRAD_REQUIRE_WEBGPU") === "1") {
      throw error;
    }
    console.warn(
      `tests: WebGPU is not tested here (${error instanceof Error ? error.message : error}); ` +
        `on Linux, mesa-vulkan-drivers brings a software adapter`,
    );
  }
  return devices;
}
