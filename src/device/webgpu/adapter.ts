/**
 * Finds an adapter and requests a device with everything it supports.
 *
 * @module
 */
import { DeviceError } from "../errors.ts";
import { chooseGpu } from "./dawn.ts";

/** Limits to open a device with, to save memory or to test the splitting of long bindings. */
export interface WebGpuLimits {
  /** Maximum bytes of a binding. The adapter's limit also applies. */
  readonly maxStorageBufferBindingSize?: number;
  /** Maximum bytes of a buffer. The adapter's limit also applies. */
  readonly maxBufferSize?: number;
  /** What the byte offset of a binding must be a multiple of; at least the adapter's. */
  readonly minStorageBufferOffsetAlignment?: number;
}

/** Whether kernels' programs are chosen by timing them; `again` discards the choices of earlier runs. */
export type Tune = "off" | "on" | "again";

/** Options of {@linkcode WebGpuDevice.open}. */
export interface WebGpuOptions {
  /**
   * The implementation of WebGPU: `"dawn"`, or an object. Default: that of the environment variable `DINOGRAD_GPU`, or
   * else the runtime's `navigator.gpu`.
   */
  readonly gpu?: GPU | "dawn" | undefined;
  /** Which adapter to prefer if there are several. Default: `high-performance`. */
  readonly powerPreference?: GPUPowerPreference;
  /** Limits below the adapter's. */
  readonly limits?: WebGpuLimits;
  /**
   * `on` times the programs of each kernel in its first launches, or uses the choices of earlier runs; `again` chooses
   * anew. Sums may then be added in another order, so results differ in their last digits. Default: `off`.
   */
  readonly tune?: Tune | undefined;
  /**
   * Called before a program is compiled, with the kernel's name and the number of programs so far. The first step of a
   * training run compiles dozens.
   */
  readonly onCompile?: ((kernel: string, count: number) => void) | undefined;
  /** Maximum bytes of buffers, in use and pooled together. Default: no limit. */
  readonly memoryLimit?: number;
}

/** Dawn's name for the matrix unit feature. */
export const SUBGROUP_MATRIX = "chromium-experimental-subgroup-matrix";

/** Names of software adapters. */
const SOFTWARE = /llvmpipe|swiftshader|lavapipe|softpipe|basic render/i;

/** Whether an adapter runs on the CPU: flagged as a fallback, llvmpipe, SwiftShader, WARP. */
export function isSoftwareAdapter(adapter: GPUAdapter): boolean {
  const info = adapter.info as GPUAdapterInfo & { isFallbackAdapter?: boolean };
  const old = adapter as GPUAdapter & { isFallbackAdapter?: boolean };
  return info.isFallbackAdapter === true || old.isFallbackAdapter === true ||
    SOFTWARE.test(`${info.description} ${info.device} ${info.vendor} ${info.architecture}`);
}

/**
 * Whether an adapter goes through OpenGL, which wgpu uses if there is no Vulkan driver, and whose compute programs
 * crash the process. It is recognised by what only it lacks: subgroup sizes are unknown on other old GPUs, too, but
 * those support storage textures of `bgra8unorm`, which wgpu does not offer over OpenGL.
 */
export function isOpenGlAdapter(adapter: GPUAdapter): boolean {
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  return subgroupMinSize === 4 && subgroupMaxSize === 128 && !adapter.features.has("shader-f16") &&
    !adapter.features.has("bgra8unorm-storage");
}

/** The reason for rejecting an adapter over OpenGL. */
export const NO_OPENGL = "its only adapter goes through OpenGL, which cannot run compute programs";

/** Whether kernels may multiply 16 x 16 matrices of f16 with sums in f32, in subgroups of 32 invocations. */
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

/** The adapter's name for people. */
export function adapterName(adapter: GPUAdapter): string {
  const { description, device, vendor, architecture } = adapter.info;
  return description || [vendor, architecture, device].filter((part) => part).join(" ") ||
    "unnamed adapter";
}

/** An adapter, its device, and what that supports beyond its features. */
export interface OpenedAdapter {
  readonly adapter: GPUAdapter;
  readonly gpu: GPUDevice;
  /** Whether kernels may use subgroup operations. */
  readonly subgroups: boolean;
  /** Whether WGSL has `dot4I8Packed`. */
  readonly packedDots: boolean;
}

/** Opens an adapter. Throws a {@linkcode DeviceError} if there is none or it gives no device. */
export async function openAdapter(options: WebGpuOptions): Promise<OpenedAdapter> {
  const gpu = await chooseGpu(options.gpu);
  if (!gpu) {
    throw new DeviceError("expected a runtime with WebGPU but got none (navigator.gpu is missing)");
  }
  const powerPreference = options.powerPreference ?? "high-performance";
  // Deno's types lack it.
  const { wgslLanguageFeatures } = gpu as GPU & { wgslLanguageFeatures?: ReadonlySet<string> };
  const packedDots = wgslLanguageFeatures?.has("packed_4x8_integer_dot_product") ?? false;
  // Deno and wgpu do not list `subgroups` even if they support it, so the only way to know is to ask.
  for (const subgroups of [true, false]) {
    const adapter = await requestAdapter(gpu, powerPreference);
    if (!adapter) throw new DeviceError("expected a WebGPU adapter but got none");
    if (isOpenGlAdapter(adapter)) {
      throw new DeviceError(
        `expected an adapter of Vulkan, Metal or DirectX 12 but got OpenGL: ${NO_OPENGL}`,
      );
    }
    const device = await requestDevice(adapter, options.limits ?? {}, subgroups);
    if (device) return { adapter, gpu: device, subgroups, packedDots };
  }
  throw new DeviceError("expected a device of the WebGPU adapter but got none");
}

/**
 * Asks for an adapter. Without the variable XDG_RUNTIME_DIR, as in containers, the display library that wgpu loads on
 * Linux prints errors, although nothing is displayed; so it is set meanwhile, if that is permitted.
 */
export async function requestAdapter(
  gpu: GPU,
  powerPreference: GPUPowerPreference,
): Promise<GPUAdapter | null> {
  const variable = "XDG_RUNTIME_DIR";
  const isAllowed = "Deno" in globalThis && Deno.build.os === "linux" &&
    (await Deno.permissions.query({ name: "env", variable })).state === "granted";
  if (!isAllowed || Deno.env.get(variable)) return await gpu.requestAdapter({ powerPreference });
  Deno.env.set(variable, "/tmp");
  try {
    return await gpu.requestAdapter({ powerPreference });
  } finally {
    Deno.env.delete(variable);
  }
}

/** A device with everything the adapter supports; undefined if it does not grant subgroups. */
async function requestDevice(
  adapter: GPUAdapter,
  asked: WebGpuLimits,
  subgroups: boolean,
): Promise<GPUDevice | undefined> {
  const { limits } = adapter;
  // Limits below these defaults need not be granted; the device applies lower ones itself.
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
