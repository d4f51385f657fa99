/**
 * Choosing and opening a device.
 *
 * @module
 */
import { CpuDevice } from "./cpu/cpu_device.ts";
import { hasDefaultDevice, setDefaultDevice } from "./default.ts";
import type { Device } from "./device.ts";
import { DeviceError } from "./errors.ts";
import {
  adapterName,
  isOpenGlAdapter,
  isSoftwareAdapter,
  NO_OPENGL,
  requestAdapter,
} from "./webgpu/adapter.ts";
import { chooseGpu } from "./webgpu/dawn.ts";
import type { Tune, WebGpuOptions } from "./webgpu/adapter.ts";
import { WebGpuDevice } from "./webgpu/webgpu_device.ts";

/** Options of {@linkcode openDevice}. */
export interface OpenOptions {
  /** The kind of device. Default: WebGPU if there is a hardware adapter, else the CPU. */
  readonly kind?: "webgpu" | "cpu" | undefined;
  /**
   * The implementation of WebGPU, instead of the runtime's `navigator.gpu`; `"dawn"` loads `npm:webgpu` (see
   * {@linkcode loadDawn}). Default: Dawn if the environment variable `DINOGRAD_GPU` is `dawn` and may be read, else
   * `navigator.gpu`.
   */
  readonly gpu?: GPU | "dawn" | undefined;
  /** The number of threads of the CPU device, if that is opened. Default: one per core. */
  readonly threads?: number | undefined;
  /** Whether a GPU's programs are chosen by timing them, as in `WebGpuOptions`. Default: `off`. */
  readonly tune?: Tune | undefined;
  /** Called before a program is compiled, as in `WebGpuOptions`. */
  readonly onCompile?: WebGpuOptions["onCompile"];
  /** Receives the line that says which device was opened and why; false for silence. Default: `console.error`. */
  readonly log?: ((line: string) => void) | false | undefined;
}

/**
 * Opens a device: WebGPU if there is a hardware adapter, else the CPU. A software adapter (llvmpipe, SwiftShader) does
 * not count, since the CPU device is several times faster; `kind: "webgpu"` opens it anyway. The first device that is
 * opened becomes the default.
 *
 * Throws a {@linkcode DeviceError} if `kind` is `webgpu` and there is no adapter, or if Dawn is requested and cannot be
 * loaded.
 *
 * @example
 * ```ts
 * import { openDevice } from "@dinograd/dinograd";
 * using device = await openDevice({ kind: "cpu", log: false });
 * console.log(device.description);
 * ```
 */
export async function openDevice(options?: OpenOptions): Promise<Device> {
  const { device, why } = await choose(options ?? {});
  if (!hasDefaultDevice()) setDefaultDevice(device);
  // Logs to stderr, to keep the program's own output clean.
  const log = options?.log ?? ((line: string): void => console.error(line));
  if (log) log(`device: ${device.description} (${why})`);
  return device;
}

async function choose(
  { kind, gpu: asked, threads, ...options }: OpenOptions,
): Promise<{ device: Device; why: string }> {
  if (kind !== undefined && kind !== "webgpu" && kind !== "cpu") {
    throw new TypeError(`openDevice: expected kind "webgpu" or "cpu" but got "${kind}"`);
  }
  if (kind === "cpu") return { device: CpuDevice.open({ threads }), why: "requested" };
  const gpu = await chooseGpu(asked);
  const found = await findAdapter(gpu);
  if (kind === "webgpu") {
    if (!found.adapter) {
      throw new DeviceError(
        `No WebGPU device: ${found.why}. A GPU needs its Vulkan, Metal or DirectX 12 driver; on Linux ` +
          `without a GPU, the package mesa-vulkan-drivers brings a software adapter ` +
          `("apt-get install mesa-vulkan-drivers"). Or open the device of kind "cpu"`,
      );
    }
    return { device: await WebGpuDevice.open({ gpu, ...options }), why: "requested" };
  }
  if (!found.adapter) return { device: CpuDevice.open({ threads }), why: found.why };
  const name = adapterName(found.adapter);
  if (isSoftwareAdapter(found.adapter)) {
    return {
      device: CpuDevice.open({ threads }),
      why: `WebGPU has only the software adapter ${name}`,
    };
  }
  try {
    return { device: await WebGpuDevice.open({ gpu, ...options }), why: "WebGPU finds a GPU" };
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    return { device: CpuDevice.open({ threads }), why: error.message };
  }
}

async function findAdapter(
  gpu: GPU | undefined,
): Promise<{ adapter: GPUAdapter | null; why: string }> {
  if (!gpu) return { adapter: null, why: "this runtime has no WebGPU (navigator.gpu is missing)" };
  try {
    const adapter = await requestAdapter(gpu, "high-performance");
    if (adapter && isOpenGlAdapter(adapter)) {
      return { adapter: null, why: `WebGPU cannot be used here: ${NO_OPENGL}` };
    }
    return { adapter, why: "WebGPU finds no adapter on this machine" };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { adapter: null, why: `WebGPU finds no adapter (${message})` };
  }
}
