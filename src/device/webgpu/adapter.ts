/**
 * Finds the adapter and asks it for a device with all that it offers.
 *
 * @module
 */
import { DeviceError } from "../errors.ts";
import { chooseGpu } from "./dawn.ts";

/** Limits a device can be opened with, to be frugal or to test that long bindings are split. */
export interface WebGpuLimits {
  /** The largest binding in bytes; never more than the adapter's. */
  readonly maxStorageBufferBindingSize?: number;
  /** The largest buffer in bytes; never more than the adapter's. */
  readonly maxBufferSize?: number;
  /** What a binding's first byte is a multiple of; never less than the adapter's. */
  readonly minStorageBufferOffsetAlignment?: number;
}

/** Whether kernels' programs are chosen by timing them; `again` forgets what earlier runs chose. */
export type Tune = "off" | "on" | "again";

/** How a {@linkcode WebGpuDevice} is opened. */
export interface WebGpuOptions {
  /**
   * Where adapters come from: `"dawn"`, or an object; by default what the environment variable `DINOGRAD_GPU` says, else
   * the runtime's `navigator.gpu`.
   */
  readonly gpu?: GPU | "dawn" | undefined;
  /** Which adapter, where there are several; `high-performance` by default. */
  readonly powerPreference?: GPUPowerPreference;
  /** Limits below the adapter's. */
  readonly limits?: WebGpuLimits;
  /**
   * `on`: time the programs of each kernel in the first launches, or take what earlier runs chose;
   * `again`: choose anew. Sums may be added in another order then, so results differ in their last digits. Default: `off`.
   */
  readonly tune?: Tune | undefined;
  /** Told before a program is compiled, which one and how many there were: the first step of a training run compiles dozens. */
  readonly onCompile?: ((kernel: string, count: number) => void) | undefined;
  /** Maximum bytes of buffers, in use and pooled together; no limit by default. */
  readonly memoryLimit?: number;
}

/** Dawn's name of the feature that gives access to matrix units. */
export const SUBGROUP_MATRIX = "chromium-experimental-subgroup-matrix";

/** Software adapters. */
const SOFTWARE = /llvmpipe|swiftshader|lavapipe|softpipe|basic render/i;

/** True for an adapter that runs on the CPU: flagged as a fallback, llvmpipe, SwiftShader, WARP. */
export function isSoftwareAdapter(adapter: GPUAdapter): boolean {
  const info = adapter.info as GPUAdapterInfo & { isFallbackAdapter?: boolean };
  const old = adapter as GPUAdapter & { isFallbackAdapter?: boolean };
  return info.isFallbackAdapter === true || old.isFallbackAdapter === true ||
    SOFTWARE.test(`${info.description} ${info.device} ${info.vendor} ${info.architecture}`);
}

/**
 * True for an adapter over OpenGL, which wgpu takes where there is no Vulkan driver: its compute programs crash
 * the process. It can be told by what it alone lacks: subgroup sizes are unknown on other old GPUs, too, but these can
 * store textures of `bgra8unorm`, which wgpu does not offer over OpenGL.
 */
export function isOpenGlAdapter(adapter: GPUAdapter): boolean {
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  return subgroupMinSize === 4 && subgroupMaxSize === 128 && !adapter.features.has("shader-f16") &&
    !adapter.features.has("bgra8unorm-storage");
}

/** What is said of an adapter over OpenGL. */
export const NO_OPENGL = "its only adapter goes through OpenGL, which cannot run compute programs";

/** True where kernels may multiply matrices of 16 x 16 in f16 with sums in f32, by subgroups of 32 invocations. */
export function hasMatrixUnits(adapter: GPUAdapter, gpu: GPUDevice): boolean {
  const { subgroupMatrixConfigs = [], subgroupMinSize, subgroupMaxSize } = adapter
    .info as GPUAdapterInfo & { subgroupMatrixConfigs?: Iterable<SubgroupMatrixConfig> };
  return subgroupMinSize === 32 && subgroupMaxSize === 32 && gpu.features.has("shader-f16") &&
    gpu.features.has(SUBGROUP_MATRIX as GPUFeatureName) &&
    [...subgroupMatrixConfigs].some(({ componentType, resultComponentType, M, N, K }) =>
      componentType === "f16" && resultComponentType === "f32" && M === 16 && N === 16 && K === 16
    );
}

interface SubgroupMatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** The adapter's name as people know it. */
export function adapterName(adapter: GPUAdapter): string {
  const { description, device, vendor, architecture } = adapter.info;
  return description || [vendor, architecture, device].filter((part) => part).join(" ") ||
    "unnamed adapter";
}

/** An adapter, its device, and whether that grants subgroup operations. */
export interface OpenedAdapter {
  readonly adapter: GPUAdapter;
  readonly gpu: GPUDevice;
  readonly subgroups: boolean;
}

/** Opens an adapter. Throws a {@linkcode DeviceError} where there is none or it gives no device. */
export async function openAdapter(options: WebGpuOptions): Promise<OpenedAdapter> {
  const gpu = await chooseGpu(options.gpu);
  if (!gpu) {
    throw new DeviceError("expected a runtime with WebGPU but got none (navigator.gpu is missing)");
  }
  const powerPreference = options.powerPreference ?? "high-performance";
  // Deno and wgpu list no `subgroups` where they grant it, so the only way to know is to ask.
  for (const subgroups of [true, false]) {
    const adapter = await gpu.requestAdapter({ powerPreference });
    if (!adapter) throw new DeviceError("expected a WebGPU adapter but got none");
    if (isOpenGlAdapter(adapter)) {
      throw new DeviceError(
        `expected an adapter of Vulkan, Metal or DirectX 12 but got OpenGL: ${NO_OPENGL}`,
      );
    }
    const device = await requestDevice(adapter, options.limits ?? {}, subgroups);
    if (device) return { adapter, gpu: device, subgroups };
  }
  throw new DeviceError("expected a device of the WebGPU adapter but got none");
}

/** A device with all that the adapter offers; undefined where it does not grant subgroups. */
async function requestDevice(
  adapter: GPUAdapter,
  asked: WebGpuLimits,
  subgroups: boolean,
): Promise<GPUDevice | undefined> {
  const { limits } = adapter;
  // Limits below these defaults need not be granted; the device keeps to lower ones by itself.
  const atLeast = (value: number | undefined, max: number, preset: number) =>
    value === undefined ? max : Math.min(max, Math.max(value, preset));
  const requiredFeatures = ["shader-f16", "timestamp-query", SUBGROUP_MATRIX]
    .filter((feature) => adapter.features.has(feature as GPUFeatureName));
  if (subgroups) requiredFeatures.push("subgroups");
  try {
    return await adapter.requestDevice({
      label: "dinograd",
      requiredFeatures: requiredFeatures as GPUFeatureName[],
      requiredLimits: {
        maxBufferSize: atLeast(asked.maxBufferSize, limits.maxBufferSize, 2 ** 28),
        maxStorageBufferBindingSize: atLeast(
          asked.maxStorageBufferBindingSize,
          limits.maxStorageBufferBindingSize,
          2 ** 27,
        ),
        minStorageBufferOffsetAlignment: limits.minStorageBufferOffsetAlignment,
        minUniformBufferOffsetAlignment: limits.minUniformBufferOffsetAlignment,
        maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
        maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
        maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
        maxComputeWorkgroupSizeY: limits.maxComputeWorkgroupSizeY,
        maxComputeWorkgroupSizeZ: limits.maxComputeWorkgroupSizeZ,
        maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
      },
    });
  } catch (error) {
    if (subgroups) return undefined;
    throw new DeviceError(
      `expected a device of the WebGPU adapter ${adapterName(adapter)} but got none: ${
        error instanceof Error ? error.message : error
      }`,
    );
  }
}
