import assert from "node:assert/strict";
import { StepGuard } from "../../src/train/step_guard.ts";

Deno.test("StepGuard has the defaults that are documented", () => {
  const guard = new StepGuard({ onNaN: "skip" });
  const actions = Array.from({ length: 10 }, () => guard.check(NaN, 1).action);
  assert.deepEqual(actions, [...Array(9).fill("skip"), "stop"]);
  const spiky = new StepGuard({ spike: 4 });
  for (let i = 0; i < 30; i++) spiky.check(i % 2 ? 3 : 3.2, 1);
  assert.equal(spiky.check(9, 1).action, "skip");
});

Deno.test("StepGuard takes no spike below a hundredth of a nat for each deviation", () => {
  const guard = new StepGuard({ spike: 5 });
  for (let i = 0; i < 30; i++) guard.check(3, 1);
  assert.equal(guard.check(3.06, 1).action, "skip");
  assert.equal(guard.check(3.04, 1).action, "apply");
});

Deno.test("StepGuard keeps mean and variance of all losses at first, then of a hundred or so", () => {
  const guard = new StepGuard();
  const losses = Array.from({ length: 80 }, (_, i) => 3 + Math.sin(i * 1.7));
  for (const loss of losses) guard.check(loss, 1);
  const mean = losses.reduce((a, b) => a + b) / 80;
  const variance = losses.reduce((sum, loss) => sum + (loss - mean) ** 2, 0) / 80;
  assert.ok(Math.abs(guard.state().mean - mean) < 1e-9);
  assert.ok(Math.abs(guard.state().variance - variance) < 1e-9);
  for (let i = 0; i < 1000; i++) guard.check(5, 1);
  for (let i = 0; i < 20; i++) guard.check(6, 1);
  assert.ok(Math.abs(guard.state().mean - (6 - 0.99 ** 20)) < 1e-3, `${guard.state().mean}`);
});

Deno.test("StepGuard learns from no step that is left out, and counts only those in a row", () => {
  const guard = new StepGuard({ spike: 3, maxSkips: 4 });
  for (let i = 0; i < 40; i++) guard.check(i % 2 ? 2.9 : 3.1, 1);
  const { mean, variance, count } = guard.state();
  for (let i = 0; i < 3; i++) assert.equal(guard.check(50, 1).action, "skip");
  assert.deepEqual(guard.state(), { mean, variance, count, skipped: 3 });
  guard.check(3, 1);
  assert.equal(guard.state().skipped, 0);
});
