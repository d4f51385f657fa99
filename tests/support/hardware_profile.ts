/**
 * A software adapter with the profile of a GPU, so that the programs that only GPUs run (those with workgroup memory
 * and small work per invocation) are tested where there is no GPU.
 *
 * @module
 */

/** What every GPU offers: WebGPU's default limits, less than the software adapters have. */
const LIMITS: Readonly<Record<string, number>> = {
  maxComputeWorkgroupStorageSize: 16 * 1024,
  maxComputeInvocationsPerWorkgroup: 256,
};

/** The name of its adapters. */
export const HARDWARE_PROFILE = "hardware profile";

/** `navigator.gpu` with adapters that do not say that they are software, and have no more than WebGPU's default limits. */
export function hardwareProfileGpu(): GPU {
  return {
    requestAdapter: async (options?: GPURequestAdapterOptions) => {
      const adapter = await navigator.gpu.requestAdapter(options);
      return adapter && withProfile(adapter);
    },
  } as GPU;
}

function withProfile(adapter: GPUAdapter): GPUAdapter {
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  const info = { description: HARDWARE_PROFILE, subgroupMinSize, subgroupMaxSize };
  const limits = replacing(adapter.limits, LIMITS);
  return replacing(adapter, { info, limits });
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
