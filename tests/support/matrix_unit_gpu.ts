/**
 * A software adapter that claims to have matrix units: its devices compile programs with the operations on subgroup
 * matrices written out, so that what programs load, multiply and store is tested where there are none.
 *
 * @module
 */
import { SUBGROUP_MATRIX } from "../../src/device/webgpu/adapter.ts";
import { testGpu } from "./gpu.ts";

const CONFIG = { componentType: "f16", resultComponentType: "f32", M: 16, N: 16, K: 16 };

/** Adapters over the one that tests run on, with subgroups of 32 and matrices of 16 x 16. */
export function matrixUnitGpu(): GPU {
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
        device.createShaderModule = (module) =>
          createShaderModule({ ...module, code: writeOut(module.code) });
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
 * The program with plain WGSL in place of subgroup matrices. An operand is where it lies in workgroup memory, read when it
 * is multiplied; of a sum each of the 32 invocations holds 8 elements.
 */
export function writeOut(code: string): string {
  if (!code.includes("subgroupMatrix")) return code;
  const operands = new Set<string>();
  const arrays = new Set<string>();
  const text = code
    .replace(/^enable chromium_experimental_subgroup_matrix;$/m, "")
    .replace(/^diagnostic\(.*subgroup_matrix_uniformity\);$/m, "")
    .replace(/subgroup_matrix_(left|right)<f16, 16, 16>/g, "MatrixOperand")
    .replace(/subgroup_matrix_result<f32, 16, 16>/g, "array<f32, 8>")
    .replace(/subgroupMatrixLoad<\w+, (row|col)_major>\(&(\w+), /g, (_, major, array) => {
      operands.add(array);
      const number = [...operands].indexOf(array);
      return `MatrixOperand(${number}u, ${major === "col"}, `;
    })
    .replace(/subgroupMatrixStore<row_major>\(&(\w+), /g, (_, array) => {
      arrays.add(array);
      return `store_matrix_${array}(`;
    })
    .replaceAll("subgroupMatrixMultiplyAccumulate(", "multiply_matrices(")
    .replace(
      /@builtin\(local_invocation_index\) (\w+): u32,\n\) \{/,
      "$&\n  matrix_lane = $1 % 32u;",
    );
  const reads = [...operands].map((array, number) =>
    `case ${number}u: { return f32(${array}[at / 4u][at % 4u]); }`
  );
  const stores = [...arrays].map((array) =>
    `fn store_matrix_${array}(offset: u32, sum: array<f32, 8>, stride: u32) {
  let at = offset + matrix_lane / 2u * stride + matrix_lane % 2u * 2u;
  ${array}[at] = vec4f(sum[0], sum[1], sum[2], sum[3]);
  ${array}[at + 1u] = vec4f(sum[4], sum[5], sum[6], sum[7]);
}`
  );
  return `${text}
struct MatrixOperand { array: u32, columns: bool, offset: u32, stride: u32 }
var<private> matrix_lane: u32;
fn element_of_matrix(x: MatrixOperand, row: u32, column: u32) -> f32 {
  let at = 4u * x.offset + select(row * 4u * x.stride + column, column * 4u * x.stride + row, x.columns);
  switch x.array {
    ${reads.join("\n    ")}
    default: { return 0.0; }
  }
}
fn multiply_matrices(x: MatrixOperand, y: MatrixOperand, sum: array<f32, 8>) -> array<f32, 8> {
  var out = sum;
  for (var e = 0u; e < 8u; e++) {
    for (var k = 0u; k < 16u; k++) {
      out[e] += element_of_matrix(x, matrix_lane / 2u, k) *
        element_of_matrix(y, k, matrix_lane % 2u * 8u + e);
    }
  }
  return out;
}
${stores.join("\n")}
`;
}
