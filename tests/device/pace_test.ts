import assert from "node:assert/strict";
import { MAX_SUBMIT, Pace } from "../../src/device/webgpu/pace.ts";

Deno.test("Pace estimates by the slower of operations and bytes, and learns from waits", () => {
  const pace = new Pace();
  const before = pace.estimate(1e11, 0);
  assert(before >= MAX_SUBMIT, "a tenth of a teraflop fills a submit of an unknown GPU");
  assert.equal(pace.estimate(0, 5e9), before);
  for (let i = 0; i < 20; i++) pace.measured(pace.estimate(1e12, 0), 40); // 25 TFLOP/s
  const after = pace.estimate(1e11, 0);
  assert(after < before / 4 && after >= 4, `expected between 4 and ${before / 4} but got ${after}`);
  pace.measured(1, 1000); // too little work to tell
  assert.equal(pace.estimate(1e11, 0), after);
  for (let i = 0; i < 20; i++) pace.measured(pace.estimate(1e12, 0), 400);
  assert(Math.abs(pace.estimate(1e12, 0) / 400 - 1) < 0.1);
});
