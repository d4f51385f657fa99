/**
 * Devices whose programs are changed before they are compiled, to see whether kernels rely on what adapters do
 * not promise.
 *
 * @module
 */
import { MAX_ITERATIONS } from "../../src/device/kernel.ts";
import { testGpu } from "./gpu.ts";

/** `gpu` with devices that compile `rewrite(code)` in place of each program's code. */
export function rewritingGpu(rewrite: (code: string) => string, gpu: GPU = testGpu): GPU {
  return {
    requestAdapter: async (options?: GPURequestAdapterOptions) => {
      const adapter = await gpu.requestAdapter(options);
      if (!adapter) return null;
      const requestDevice = adapter.requestDevice.bind(adapter);
      adapter.requestDevice = async (descriptor) => {
        const device = await requestDevice(descriptor);
        const createShaderModule = device.createShaderModule.bind(device);
        device.createShaderModule = (module) =>
          createShaderModule({ ...module, code: rewrite(module.code) });
        return device;
      };
      return adapter;
    },
  } as GPU;
}

/** Ends the loops of an invocation once they have had {@linkcode MAX_ITERATIONS} in all, as a driver may. */
export function boundLoops(code: string): string {
  const counted = `if (loops >= ${MAX_ITERATIONS}u) { break; } loops += 1u;`;
  return `${code.replaceAll(/^\s*(?:for|while) \(.*\{$/gm, `$& ${counted}`)}
var<private> loops = 0u;`;
}
