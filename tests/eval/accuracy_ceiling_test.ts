import assert from "node:assert/strict";
import { accuracyCeiling } from "../../tools/proofs/train_translator.ts";

Deno.test("accuracyCeiling() is what the likeliest word after each context gives", () => {
  // Of "va <EOS>", "va <EOS>" and "cours vite <EOS>" after "run", the first word is right twice at best.
  const targets = ["va", "va", "cours vite"];
  const pairs = targets.map((target) => ({ source: "run", target }));
  assert.equal(accuracyCeiling(pairs), 6 / 7);
  assert.equal(accuracyCeiling([...pairs, { source: "go", target: "cours vite" }]), 9 / 10);
  assert.equal(accuracyCeiling(pairs.slice(1)), 4 / 5);
  assert.equal(accuracyCeiling(pairs.slice(2)), 1);
});
