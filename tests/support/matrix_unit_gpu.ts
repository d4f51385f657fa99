/**
 * A software adapter that claims to have matrix units: its devices compile programs with the operations on subgroup
 * matrices written out, so that what programs load, multiply and store is tested where there are none.
 *
 * @module
 */
import { SUBGROUP_MATRIX } from "../../src/device/webgpu/adapter.ts";
import { testGpu } from "./gpu.ts";

const CONFIG = { componentType: "f16", resultComponentType: "f32", M: 16, N: 16, K: 16 };

/**
 * Adapters over the one that tests run on, with subgroups of 32 and matrices of 16 x 16. The names of the kernels that used
 * them are added to `used`.
 */
export function matrixUnitGpu(used: Set<string>): GPU {
  return {
    requestAdapter: async (options?: GPURequestAdapterOptions) => {
      const adapter = await testGpu.requestAdapter(options);
      if (!adapter) return null;
      const info = {
        description: "matrix unit profile",
        subgroupMinSize: 32,
        subgroupMaxSize: 32,
        subgroupMatrixConfigs: [CONFIG],
      };
      const features = new Set([...adapter.features, SUBGROUP_MATRIX]);
      const requestDevice = async (descriptor: GPUDeviceDescriptor = {}) => {
        const requiredFeatures = [...descriptor.requiredFeatures ?? []]
          .filter((name) => name as string !== SUBGROUP_MATRIX);
        const device = await adapter.requestDevice({ ...descriptor, requiredFeatures });
        Object.defineProperty(device, "features", { value: features });
        const createShaderModule = device.createShaderModule.bind(device);
        device.createShaderModule = (module) => {
          if (module.code.includes("subgroupMatrix")) used.add(module.label ?? "");
          return createShaderModule({ ...module, code: writeOut(module.code) });
        };
        return device;
      };
      const values: Record<string, unknown> = { info, features, requestDevice };
      return new Proxy(adapter, {
        get(_, key) {
          if (typeof key === "string" && key in values) return values[key];
          const value = Reflect.get(adapter, key, adapter);
          return typeof value === "function" ? value.bind(adapter) : value;
        },
      });
    },
  } as GPU;
}

/**
 * The program with plain WGSL in place of subgroup matrices: each of the 32 invocations of a subgroup holds 8 elements of a
 * matrix, and factors meet in workgroup memory.
 */
export function writeOut(code: string): string {
  if (!code.includes("subgroupMatrix")) return code;
  const loaded = new Set<string>();
  const stored = new Set<string>();
  const text = code
    .replace(/^enable chromium_experimental_subgroup_matrix;$/m, "")
    .replace(/^diagnostic\(.*subgroup_matrix_uniformity\);$/m, "")
    .replace(/subgroup_matrix_\w+<f\d+, 16, 16>/g, "array<f32, 8>")
    .replace(/subgroupMatrixLoad<\w+, (row|col)_major>\(&(\w+), /g, (_, major, array) => {
      loaded.add(array);
      return `load_matrix_${array}(${major === "col"}, `;
    })
    .replace(/subgroupMatrixStore<row_major>\(&(\w+), /g, (_, array) => {
      stored.add(array);
      return `store_matrix_${array}(`;
    })
    .replaceAll("subgroupMatrixMultiplyAccumulate(", "multiply_matrices(")
    .replace(
      /@builtin\(local_invocation_index\) (\w+): u32,\n\) \{/,
      "$&\n  matrix_invocation = $1;",
    );
  const [, threads] = /const THREADS = (\d+)u/.exec(code)!;
  const loads = [...loaded].map((array) =>
    `fn load_matrix_${array}(columns: bool, offset: u32, stride: u32) -> array<f32, 8> {
  var x: array<f32, 8>;
  for (var e = 0u; e < 8u; e++) {
    let row = matrix_invocation % 32u / 2u;
    let column = matrix_invocation % 2u * 8u + e;
    let at = 4u * offset + select(row * 4u * stride + column, column * 4u * stride + row, columns);
    x[e] = f32(${array}[at / 4u][at % 4u]);
  }
  return x;
}`
  );
  const stores = [...stored].map((array) =>
    `fn store_matrix_${array}(offset: u32, x: array<f32, 8>, stride: u32) {
  let at = offset + matrix_invocation % 32u / 2u * stride + matrix_invocation % 2u * 2u;
  ${array}[at] = vec4f(x[0], x[1], x[2], x[3]);
  ${array}[at + 1u] = vec4f(x[4], x[5], x[6], x[7]);
}`
  );
  return `${text}
var<private> matrix_invocation: u32;
var<workgroup> left_matrix: array<f16, 8 * ${threads}>;
var<workgroup> right_matrix: array<f16, 8 * ${threads}>;
fn multiply_matrices(x: array<f32, 8>, y: array<f32, 8>, sum: array<f32, 8>) -> array<f32, 8> {
  workgroupBarrier();
  for (var e = 0u; e < 8u; e++) {
    left_matrix[matrix_invocation * 8u + e] = f16(x[e]);
    right_matrix[matrix_invocation * 8u + e] = f16(y[e]);
  }
  workgroupBarrier();
  let first = matrix_invocation / 32u * 256u;
  var out = sum;
  for (var k = 0u; k < 16u; k++) {
    let factor = f32(left_matrix[first + matrix_invocation % 32u / 2u * 16u + k]);
    for (var e = 0u; e < 8u; e++) {
      out[e] += factor * f32(right_matrix[first + k * 16u + matrix_invocation % 2u * 8u + e]);
    }
  }
  return out;
}
${loads.join("\n")}
${stores.join("\n")}
`;
}
