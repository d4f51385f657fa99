/**
 * A software adapter with the profile of a GPU, so that the programs that only GPUs run (those with workgroup memory
 * and small work per invocation) are tested where there is no GPU.
 *
 * @module
 */
import { testGpu } from "./gpu.ts";

/** What every GPU offers: WebGPU's default limits, less than the software adapters have. */
const LIMITS: Readonly<Record<string, number>> = {
  maxComputeWorkgroupStorageSize: 16 * 1024,
  maxComputeInvocationsPerWorkgroup: 256,
};

/** The limits that WebGPU promises, and no more, of a GPU without anything optional. */
const WEAK_LIMITS: Readonly<Record<string, number>> = {
  ...LIMITS,
  maxBufferSize: 256 * 2 ** 20,
  maxStorageBufferBindingSize: 128 * 2 ** 20,
  maxStorageBuffersPerShaderStage: 8,
  minStorageBufferOffsetAlignment: 256,
  minUniformBufferOffsetAlignment: 256,
};

/** The name of its adapters. */
export const HARDWARE_PROFILE = "hardware profile";

/** What an adapter says of itself in place of the truth. */
export interface Profile {
  readonly info: Partial<GPUAdapterInfo>;
  readonly limits: Readonly<Record<string, number>>;
  /** All features, where they are fewer. */
  readonly features?: ReadonlySet<string>;
}

/** Adapters that do not say that they are software, and have no more than WebGPU's default limits. */
export function hardwareProfileGpu(): GPU {
  return profiledGpu(({ info: { subgroupMinSize, subgroupMaxSize } }) => ({
    info: { description: HARDWARE_PROFILE, subgroupMinSize, subgroupMaxSize },
    limits: LIMITS,
  }));
}

/**
 * The weakest adapter that WebGPU allows: its default limits, no f16, no timestamps, no subgroups, so their sizes are
 * unknown. It grants nothing that it does not list.
 */
export function weakProfileGpu(): GPU {
  return profiledGpu(() => ({
    info: { description: "weak profile", subgroupMinSize: 4, subgroupMaxSize: 128 },
    limits: WEAK_LIMITS,
    features: new Set(["bgra8unorm-storage"]),
  }));
}

/** The adapters that the tests run on, with what `profileOf` says in place of the truth. */
export function profiledGpu(profileOf: (adapter: GPUAdapter) => Profile): GPU {
  return replacing(testGpu, {
    requestAdapter: async (options?: GPURequestAdapterOptions) => {
      const adapter = await testGpu.requestAdapter(options);
      return adapter && withProfile(adapter, profileOf(adapter));
    },
  });
}

function withProfile(adapter: GPUAdapter, { info, limits, features }: Profile): GPUAdapter {
  const values = { info, limits: replacing(adapter.limits, limits) };
  if (!features) return replacing(adapter, values);
  const requestDevice = async (descriptor: GPUDeviceDescriptor = {}) => {
    const missing = [...descriptor.requiredFeatures ?? []].filter((name) => !features.has(name));
    if (missing.length) throw new TypeError(`the adapter has no ${missing.join(", ")}`);
    return await adapter.requestDevice(descriptor);
  };
  return replacing(adapter, { ...values, features, requestDevice });
}

/** `target` with other values of some properties. */
function replacing<T extends object>(target: T, values: Readonly<Record<string, unknown>>): T {
  return new Proxy(target, {
    get(_, key) {
      if (typeof key === "string" && key in values) return values[key];
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
