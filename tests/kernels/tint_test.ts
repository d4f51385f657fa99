/**
 * Tint, the compiler of Dawn and of Chrome, accepts every program, also those for adapters that are not here: subgroups
 * of 8, and without. Only the compiler's front end runs; in the place of each program one that does nothing is launched.
 * Programs in f16 are left to devices that have it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { isDawn } from "../support/gpu.ts";
import { profiledGpu } from "../support/hardware_profile.ts";
import type { Case } from "./case.ts";
import { launchCase } from "./launch_case.ts";

const folder = new URL("./cases/", import.meta.url);
const TARGETS = {
  "a software adapter with subgroups of 8": { description: "llvmpipe", size: 8 },
  "a software adapter": { description: "llvmpipe", size: 4 },
  "a GPU with subgroups of 32": { description: "Some GPU", size: 32 },
};

for (const [name, { description, size }] of Object.entries(TARGETS)) {
  Deno.test({
    name: `Tint accepts the programs for ${name}`,
    ignore: !isDawn,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      const info = { description, subgroupMinSize: size, subgroupMaxSize: size };
      const compiled = { programs: 0, withSubgroups: 0 };
      using device = await WebGpuDevice.open({
        gpu: idleGpu(profiledGpu(() => ({ info, limits: {} })), compiled),
      });
      const refused: string[] = [];
      for (const { name: file } of Deno.readDirSync(folder)) {
        const { cases }: { cases: Case[] } = await import(new URL(file, folder).href);
        for (const one of cases) {
          const half = Object.values(one.bindings).some((values) => values instanceof Float16Array);
          if (half && !device.dtypes.has("f16") || one.limit) continue;
          try {
            launchCase(device, one);
            await device.synchronize();
          } catch (error) {
            refused.push((error as Error).message);
          }
        }
      }
      assert.deepEqual([...new Set(refused)], []);
      assert.ok(compiled.programs > 150, `only ${compiled.programs} programs`);
      assert.equal(compiled.withSubgroups > 0, size === 8);
    },
  });
}

/** `gpu` with devices that compile programs but launch one that does nothing. */
function idleGpu(gpu: GPU, compiled: { programs: number; withSubgroups: number }): GPU {
  return {
    requestAdapter: async () => {
      const adapter = (await gpu.requestAdapter())!;
      const requestDevice = adapter.requestDevice.bind(adapter);
      return new Proxy(adapter, {
        get(target, key) {
          if (key !== "requestDevice") return Reflect.get(target, key);
          return async (descriptor: GPUDeviceDescriptor) => {
            const device = await requestDevice(descriptor);
            const createShaderModule = device.createShaderModule.bind(device);
            const createComputePipeline = device.createComputePipeline.bind(device);
            const module = createShaderModule({ code: "@compute @workgroup_size(1) fn main() {}" });
            device.createShaderModule = (source) => {
              compiled.programs++;
              if (source.code.startsWith("enable subgroups;")) compiled.withSubgroups++;
              return createShaderModule(source);
            };
            device.createComputePipeline = (pipeline) =>
              createComputePipeline({ ...pipeline, compute: { module } });
            return device;
          };
        },
      });
    },
  } as GPU;
}
