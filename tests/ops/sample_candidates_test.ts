// Sampling must not rely on what adapters do not promise of exp() and of sums.
import assert from "node:assert/strict";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { sample } from "../../src/ops/sampling.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { testWebGpu } from "../support/devices.ts";
import { testGpu } from "../support/gpu.ts";
import { hardwareProfileGpu } from "../support/hardware_profile.ts";
import { rewritingGpu } from "../support/rewriting_gpu.ts";
import { noise } from "./row_devices.ts";

/** `exp` that is one unit in the last place below: exp(0) is less than 1. */
function lowExp(code: string): string {
  const low = (type: string, bits: string) =>
    `fn low_exp_${type}(x: ${type}) -> ${type} {
  return bitcast<${type}>(bitcast<${bits}>(exp(x)) - ${bits}(1u));
}`;
  if (!code.includes("exp((x - top)")) return code;
  return code.replaceAll("exp((x - top)", "low_exp((x - top)")
    .replaceAll(
      "low_exp(",
      code.includes("const VECTOR = true;") ? "low_exp_vec4f(" : "low_exp_f32(",
    ) +
    low("f32", "u32") + low("vec4f", "vec4u");
}

Deno.test({
  name: "sample() draws one of the candidates also where exp(0) is below 1",
  ignore: !await testWebGpu(),
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    for (const gpu of [testGpu, hardwareProfileGpu()]) {
      let rewritten = 0;
      const rewrite = (code: string) => {
        const low = lowExp(code);
        if (low !== code) rewritten++;
        return low;
      };
      using device = await WebGpuDevice.open({ gpu: rewritingGpu(rewrite, gpu) });
      for (const columns of [1_028, 1_027]) {
        using _scope = new Scope();
        const rows = 1_000, topK = 5;
        const values = noise(rows * columns, 3, 4);
        const logits = tensor(values, { shape: [rows, columns], device });
        const random = new RandomState(1);
        for (const topP of [0.9, 1e-6]) {
          const ids = await sample(logits, { topK, topP, random }).data();
          ids.forEach((id, row) => {
            const own = values.subarray(row * columns, (row + 1) * columns);
            const rank = own.filter((value) => value > own[id]).length;
            const candidates = topP < 0.5 ? 1 : topK;
            assert.ok(rank < candidates, `row ${row}: id ${id} has rank ${rank} of ${candidates}`);
          });
        }
      }
      assert.ok(rewritten > 0, "no program was changed");
    }
  },
});
