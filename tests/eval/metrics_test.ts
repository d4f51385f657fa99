import assert from "node:assert/strict";
import { accuracy, type AccuracyOptions } from "../../src/eval/accuracy.ts";
import { corpusBleu, halvingWeights, sentenceBleu } from "../../src/eval/bleu.ts";
import { bitsPerByte, perplexity } from "../../src/eval/perplexity.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { onEachDevice } from "../support/devices.ts";

await onEachDevice("accuracy() counts the highest scores, the ignored left out", async (device) => {
  using _scope = new Scope();
  const logits = tensor([[[1, 5, 0], [2, 1, 0]], [[0, 1, 9], [7, 7, 0]]], { device });
  const targets = tensor([[1, 2], [2, 0]], { device, dtype: "i32" });
  const counts = async (options?: AccuracyOptions) => {
    const { correct, count } = accuracy(logits, targets, options);
    assert.deepEqual(correct.shape, []);
    return (await readTensors([correct, count])).map(([value]) => value);
  };
  assert.deepEqual(await counts(), [3, 4]);
  assert.deepEqual(await counts({ ignoreIndex: 2 }), [2, 2]);
  assert.deepEqual(await counts({ ignoreIndex: 0 }), [2, 3]);
});

await onEachDevice("accuracy() leaves two scalars behind and takes no gradient", (device) => {
  using _scope = new Scope();
  const logits = tensor([[1, 2], [3, 4]], { device });
  logits.requiresGrad = true;
  const targets = tensor([0, 1], { device, dtype: "i32" });
  const before = device.memory().live;
  const { correct, count } = accuracy(logits, targets);
  assert.ok(!correct.requiresGrad);
  correct.dispose();
  count.dispose();
  assert.equal(device.memory().live, before);
});

await onEachDevice("accuracy() throws for shapes and types that do not fit", (device) => {
  using _scope = new Scope();
  const logits = tensor([[1, 2], [3, 4]], { device });
  const wrong = tensor([0, 1, 1], { device, dtype: "i32" });
  assert.throws(() => accuracy(logits, wrong), /got \[2, 2\] and \[3\]$/);
  assert.throws(() => accuracy(logits, tensor([0, 1], { device })), TypeError);
});

Deno.test("perplexity() and bitsPerByte() convert nats", () => {
  assert.equal(perplexity(0), 1);
  assert.ok(Math.abs(perplexity(3.42) - 30.5694) < 1e-4);
  assert.equal(bitsPerByte(3 * Math.LN2, 1000, 4000), 0.75);
  assert.throws(() => bitsPerByte(1, 0, 10), RangeError);
  assert.throws(() => bitsPerByte(1, 10, 0), /got 10 tokens and 0 bytes$/);
});

/** The geometric mean of precisions, by the formula. */
const mean = (...precisions: number[]) =>
  precisions.reduce((product, p) => product * p, 1) ** (1 / precisions.length);
const near = (found: number, expected: number) =>
  assert.ok(Math.abs(found - expected) < 1e-12, `${found} is not ${expected}`);

Deno.test("sentenceBleu() takes the counts of the reference that has most", () => {
  // The paper's example: "the" stands at most twice in one reference.
  const references = ["the cat is on the mat", "there is a cat on the mat"];
  near(sentenceBleu(references, "the the the the the the the", { maxOrder: 1 }), 2 / 7);
  // Words of both references together; the closer one, of 6 words, sets the penalty.
  near(
    sentenceBleu(references, "there is a mat the", { maxOrder: 2 }),
    Math.exp(1 - 6 / 5) * mean(5 / 5, 2 / 4),
  );
  assert.equal(sentenceBleu(references, references[1]), 1);
});

Deno.test("sentenceBleu() takes other orders and weights", () => {
  const [reference, hypothesis] = ["a b c d", "a b c x"];
  near(sentenceBleu(reference, hypothesis, { maxOrder: 3 }), mean(3 / 4, 2 / 3, 1 / 2));
  near(
    sentenceBleu(reference, hypothesis, { maxOrder: 2, weights: halvingWeights(2) }),
    (3 / 4) ** 0.5 * (2 / 3) ** 0.25,
  );
  near(sentenceBleu(reference, hypothesis, { weights: [1, 0, 0, 0] }), 3 / 4);
  assert.equal(sentenceBleu(reference, hypothesis), 0);
  assert.equal(sentenceBleu(" a  b\tc d ", "a b c d"), 1);
});

Deno.test("sentenceBleu() is 0 where there are no words", () => {
  assert.equal(sentenceBleu("a b c d", ""), 0);
  assert.equal(sentenceBleu("", "a b c d"), 0);
  assert.equal(sentenceBleu("", ""), 0);
});

Deno.test("corpusBleu() sums over the corpus before it divides", () => {
  const references = ["a b c d e", ["f g", "f g h i"], "k"];
  const hypotheses = ["a b c d x", "f g h", "k"];
  // 1-grams 4 + 3 + 1 of 5 + 3 + 1, 2-grams 3 + 2 of 4 + 2, 3-grams 2 + 1 of 3 + 1, 4-grams 1 of 2; lengths:
  // 9 words against 5 + 2 + 1, since of 2 and 4 words, both one away from 3, the shorter counts.
  near(corpusBleu(references, hypotheses), mean(8 / 9, 5 / 6, 3 / 4, 1 / 2));
  near(
    corpusBleu(["a b c d e", "f g h i"], ["a b c d x", "f g h"]),
    Math.exp(1 - 9 / 8) * mean(7 / 8, 5 / 6, 3 / 4, 1 / 2),
  );
  assert.equal(corpusBleu(["a b"], ["a b"]), 0);
});

Deno.test("corpusBleu() throws for what cannot be", () => {
  assert.throws(
    () => corpusBleu([], []),
    new RangeError(
      "corpusBleu: expected as many references as hypotheses, one or more, but got 0 and 0",
    ),
  );
  assert.throws(() => corpusBleu(["a", "b"], ["a"]), /but got 2 and 1$/);
  assert.throws(
    () => corpusBleu(["a", []], ["a", "b"]),
    /corpusBleu: pair 1: expected references but got none$/,
  );
  assert.throws(
    () => sentenceBleu([], "a"),
    /sentenceBleu: pair 0: expected references but got none$/,
  );
  assert.throws(() => sentenceBleu("a", "a", { maxOrder: 0 }), /a maxOrder of 1 or more but got 0/);
  assert.throws(() => sentenceBleu("a", "a", { weights: [1] }), /expected 4 weights/);
  assert.throws(() => sentenceBleu("a", "a", { weights: [1, 1, 1, -1] }), /expected 4 weights/);
});
