/**
 * The optimizers against golden values.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { Adam, AdamW } from "../../src/optim/adamw.ts";
import { clipGradNorm } from "../../src/optim/clip_grad_norm.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { deviceName } from "./devices.ts";
import { Comparison, manifest, pick, tensorsOf, upload } from "./golden.ts";

/** Every run of `optimizer.json`, step by step: parameters, norms before clipping, factors. */
export async function compareOptimizers(device: Device): Promise<void> {
  const { steps, runs, tolerance } = manifest("optimizer");
  const stored = await tensorsOf("optimizer");
  const names = [...stored.keys()].filter((key) => key.startsWith("start."))
    .map((key) => key.slice("start.".length));
  const comparison = new Comparison("optimizer", deviceName(device));
  for (const run of runs) {
    await comparison.run(run.name, async () => {
      const parameters = new Map(
        names.map((name) => [name, upload(pick(stored, `start.${name}`), device)]),
      );
      const { lr, betas, eps, weight_decay: weightDecay, decayed } = run;
      // The library's own rule, decay on matrices only, must be the golden one.
      const matrices = names.filter((name) => parameters.get(name)!.shape.length >= 2);
      if (weightDecay) assert.deepEqual([...decayed].sort(), matrices.sort());
      using optimizer = weightDecay
        ? new AdamW(parameters, { lr, betas, eps, weightDecay })
        : new Adam(parameters, { lr, betas, eps });
      for (let step = 1; step <= steps; step++) {
        using _scope = new Scope();
        for (const [name, parameter] of parameters) {
          parameter.grad = upload(pick(stored, `grad${step}.${name}`), device);
        }
        const clipped = clipGradNorm(parameters, run.clip_global_norm ?? Infinity);
        optimizer.step(run.clip_global_norm === null ? {} : { gradScale: clipped.factor });
        await comparison.tensors(names.map((name) => ({
          name: `${run.name} step ${step} ${name}`,
          found: parameters.get(name)!,
          expected: pick(stored, `${run.name}.after${step}.${name}`),
          tolerance,
        })));
        const norm = run.grad_norms_before_clip[step - 1];
        const factor = run.clip_factors[step - 1];
        comparison.relative(`${run.name} step ${step} norm`, await clipped.norm.item(), norm, 1e-6);
        comparison.relative(
          `${run.name} step ${step} factor`,
          await clipped.factor.item(),
          factor,
          1e-6,
        );
        optimizer.zeroGrad();
      }
      parameters.forEach((parameter) => parameter.dispose());
    });
  }
  comparison.finish();
}
