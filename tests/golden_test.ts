/**
 * Holds the library against PyTorch's numbers: every operator family, optimizer, schedule and model of a
 * folder of golden values, on every device, within the tolerances that the folder gives.
 *
 *     deno task test:golden
 *     GOLDEN_DIR=<folder> deno task test:golden
 *
 * What is in the folder but unknown here fails.
 *
 * @module
 */
import assert from "node:assert/strict";
import { warmupCosine } from "../src/optim/schedule.ts";
import { onEachDevice } from "./support/devices.ts";
import { compareBleu } from "./support/golden_bleu.ts";
import { compareDecoding, isDecoding } from "./support/golden_decode.ts";
import { Comparison, files, manifest, report } from "./support/golden.ts";
import { compareModel, compareParameterCounts, isModel } from "./support/golden_models.ts";
import { compareOperators } from "./support/golden_ops.ts";
import { compareOptimizers } from "./support/golden_optimizer.ts";

const names = [...files].filter((name) => name.endsWith(".json"))
  .map((name) => name.slice(0, -".json".length)).sort();

assert(names.length > 0, "the folder of golden values has no manifests");

for (const name of names) {
  if (name.startsWith("operators_")) {
    await onEachDevice(`golden ${name}`, (device) => compareOperators(name, device));
  } else if (name === "optimizer") {
    await onEachDevice("golden optimizer", compareOptimizers);
  } else if (isModel(name)) {
    await onEachDevice(`golden ${name}`, (device) => compareModel(name, device));
  } else if (isDecoding(name)) {
    await onEachDevice(`golden ${name}`, (device) => compareDecoding(name, device));
  } else if (name === "lr_schedule") {
    Deno.test("golden lr_schedule", compareSchedules);
  } else if (name === "bleu") {
    Deno.test("golden bleu", compareBleu);
  } else if (name === "parameter_counts") {
    Deno.test("golden parameter_counts", compareParameterCounts);
  } else {
    Deno.test(`golden ${name}`, () => {
      throw new Error(`Nothing is known of ${name}.json`);
    });
  }
}

async function compareSchedules(): Promise<void> {
  const comparison = new Comparison("lr_schedule", "any");
  for (const schedule of manifest("lr_schedule").schedules) {
    await comparison.run(schedule.name, () => {
      const lr = warmupCosine({
        maxLr: schedule.max_lr,
        minLr: schedule.min_lr,
        warmupSteps: schedule.warmup_steps,
        decaySteps: schedule.decay_steps,
      });
      for (const [step, expected] of Object.entries<number>(schedule.lr_at_step)) {
        comparison.relative(`step ${step}`, lr(Number(step)), expected, 1e-12);
      }
      for (const [step, expected] of Object.entries<string>(schedule.printed_by_project)) {
        assert.equal(lr(Number(step)).toExponential(5), String(Number(expected).toExponential(5)));
      }
    });
  }
  comparison.finish();
}

Deno.test.afterAll(() => console.log(report()));
