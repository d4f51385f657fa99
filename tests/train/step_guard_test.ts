// The step guard: what is a fault, what is a spike, and what is remembered.
import assert from "node:assert/strict";
import { StepGuard } from "../../src/train/step_guard.ts";

/** A guard that has seen fifty losses about 3, which vary by 0.1. */
function experienced(options: ConstructorParameters<typeof StepGuard>[0]): StepGuard {
  const guard = new StepGuard(options);
  for (let i = 0; i < 50; i++) {
    assert.equal(guard.check(3 + (i % 2 ? 0.1 : -0.1), 1).action, "apply");
  }
  return guard;
}

Deno.test("StepGuard stops at a loss or a norm that is NaN or infinite, or skips the step", () => {
  for (const [loss, norm] of [[NaN, 1], [Infinity, 1], [3, NaN], [3, Infinity]]) {
    assert.equal(new StepGuard().check(loss, norm).action, "stop");
    assert.equal(new StepGuard({ onNaN: "skip" }).check(loss, norm).action, "skip");
  }
  assert.match(new StepGuard().check(3, NaN).warning!, /the norm of the gradients is NaN/);
  assert.equal(
    new StepGuard().check(3, Infinity, true).action,
    "apply",
    "the scale is being found",
  );
  assert.equal(new StepGuard().check(NaN, Infinity, true).action, "stop");
});

Deno.test("StepGuard takes a loss far above the running mean for a spike", () => {
  assert.equal(experienced({ spike: 5 }).check(3.4, 1).action, "apply");
  const skip = experienced({ spike: 5 }).check(3.9, 1);
  assert.equal(skip.action, "skip");
  assert.match(skip.warning!, /^the loss 3\.9000 is 9\.\d standard deviations above \d\.\d{4}$/);
  assert.equal(experienced({ spike: 5, onSpike: "stop" }).check(3.9, 1).action, "stop");
  const warned = experienced({ spike: 5, onSpike: "warn" }).check(3.9, 1);
  assert.equal(warned.action, "apply");
  assert.match(warned.warning!, /3\.9000/);
  assert.deepEqual(experienced({}).check(30, 1), { action: "apply", warning: undefined });
  assert.equal(experienced({ spike: 5 }).check(0.5, 1).action, "apply", "a lower loss is none");
});

Deno.test("StepGuard knows no spikes before it has seen twenty losses", () => {
  const guard = new StepGuard({ spike: 3 });
  for (let i = 0; i < 20; i++) assert.equal(guard.check(i % 2 ? 3 : 9, 1).action, "apply");
  assert.equal(guard.check(60, 1).action, "skip");
});

Deno.test("StepGuard ends a run that leaves step after step out", () => {
  const guard = new StepGuard({ onNaN: "skip", maxSkips: 3 });
  assert.deepEqual([1, 2].map(() => guard.check(NaN, 1).action), ["skip", "skip"]);
  guard.check(3, 1);
  assert.deepEqual([1, 2].map(() => guard.check(NaN, 1).action), ["skip", "skip"]);
  assert.deepEqual(guard.check(NaN, 1), {
    action: "stop",
    warning: "the loss is NaN, after 2 skipped steps in a row",
  });
});

Deno.test("StepGuard goes on from a saved state as if it had never stopped", () => {
  const guard = experienced({ spike: 4 });
  const again = new StepGuard({ spike: 4 });
  again.restore(JSON.parse(JSON.stringify(guard.state())));
  for (const loss of [3.2, 3.8, 2.9, 3.3, 3.6]) {
    assert.deepEqual(again.check(loss, 1), guard.check(loss, 1));
  }
  assert.throws(() => new StepGuard({ spike: 0 }), /expected spike and maxSkips above 0 but got 0/);
});
