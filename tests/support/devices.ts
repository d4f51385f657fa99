/**
 * The devices that tests run on: the CPU device, and WebGPU where there is an adapter (the software one in
 * CI). With DINOGRAD_REQUIRE_WEBGPU=1 a missing adapter is an error, so that CI cannot pass without it.
 *
 * @module
 */
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import type { Device } from "../../src/device/device.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";

let opened: Promise<Device[]> | undefined;

/** Both devices, opened once per process and closed at its end. */
export function testDevices(): Promise<Device[]> {
  return opened ??= open().then((devices) => {
    // A driver that is torn down under an open device can crash the process as it ends.
    addEventListener("unload", () => devices.forEach((device) => device.close()));
    return devices;
  });
}

/** The WebGPU device of {@linkcode testDevices}; undefined where there is no adapter. */
export async function testWebGpu(): Promise<WebGpuDevice | undefined> {
  return (await testDevices()).find((device) => device instanceof WebGpuDevice);
}

/** Registers one test per device, named after both. Call it with `await` at the top of a test file. */
export async function onEachDevice(
  name: string,
  test: (device: Device) => void | Promise<void>,
): Promise<void> {
  for (const device of await testDevices()) {
    Deno.test({
      name: `${name} [${device.kind}]`,
      // The devices and their threads live as long as the process.
      sanitizeResources: false,
      sanitizeOps: false,
      fn: async () => {
        await test(device);
        await device.synchronize();
      },
    });
  }
}

async function open(): Promise<Device[]> {
  const devices: Device[] = [CpuDevice.open()];
  try {
    devices.push(await WebGpuDevice.open());
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
