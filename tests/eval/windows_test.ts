// Which tokens a score reads and which it counts, at the edges of the context, of a group of reads and of a limit.
import assert from "node:assert/strict";
import { accuracy } from "../../src/eval/accuracy.ts";
import { evaluateHellaSwag } from "../../src/eval/hellaswag.ts";
import { textPerplexity } from "../../src/eval/text_perplexity.ts";
import { zeros } from "../../src/tensor/create.ts";
import { tensor } from "../../src/tensor/create.ts";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";
import { BytePairTokenizer } from "../../src/tokenizer/byte_pair_tokenizer.ts";
import { testDevices } from "../support/devices.ts";

const [device] = await testDevices();
/** Devices and their threads live as long as the process. */
const open = { sanitizeResources: false, sanitizeOps: false };
/** Its tokens are the bytes of a text. */
const bytewise = BytePairTokenizer.train("", { merges: 0 });
const bytes = (text: string) => [...new TextEncoder().encode(text)];

/** A model that finds everything equally likely and notes what it reads. */
function noting(contextSize: number) {
  const reads: { shape: readonly number[]; ids: Promise<ArrayLike<number>> }[] = [];
  return {
    reads,
    config: { maxPositionEmbeddings: contextSize },
    device,
    logits(ids: Tensor): Tensor {
      reads.push({ shape: ids.shape, ids: ids.data() });
      return zeros([...ids.shape, 256], { device });
    },
  };
}

Deno.test(
  "evaluateHellaSwag() reads all that fits into the context, and no more",
  open,
  async () => {
    const ending = "end"; // four tokens, with the blank
    for (const length of [4, 5, 6, 7, 20]) {
      const context = "abcdefghijklmnopqrst".slice(0, length);
      const model = noting(8);
      await evaluateHellaSwag(model, bytewise, [{ context, endings: [ending, "e"], label: 0 }]);
      const [{ shape, ids }] = model.reads;
      const whole = bytes(`${context} ${ending}`).slice(0, -1); // the last is only a target
      const read = whole.slice(-8);
      assert.deepEqual(shape, [2, read.length], `a context of ${length}`);
      assert.deepEqual(Array.from(await ids).slice(0, read.length), read);
    }
  },
);

Deno.test(
  "evaluateHellaSwag() stops at its limit, within a group of reads and after one",
  open,
  async () => {
    const items = Array.from(
      { length: 40 },
      () => ({ context: "a", endings: ["b", "c"], label: 0 }),
    );
    for (const limit of [1, 5, 16, 17, 40, 100]) {
      const model = noting(8);
      const progress: number[] = [];
      const score = await evaluateHellaSwag(model, bytewise, items, {
        limit,
        onProgress: ({ items, acc }, total) => {
          assert.ok(acc <= 1);
          assert.equal(total, Math.min(limit, 40));
          progress.push(items);
        },
      });
      // Of equal ends the first is chosen, which is the right one.
      assert.deepEqual(score, { items: Math.min(limit, 40), acc: 1, accNorm: 1 });
      assert.equal(model.reads.length, score.items);
      assert.equal(progress.at(-1), score.items);
      assert.deepEqual(progress, [...new Set(progress)].sort((a, b) => a - b));
    }
  },
);

Deno.test(
  "evaluateHellaSwag() names the item that is too long, wherever it stands",
  open,
  async () => {
    const items = Array.from({ length: 20 }, () => ({ context: "a", endings: ["b"], label: 0 }));
    items[18] = { ...items[18], endings: ["far too long"] };
    await assert.rejects(
      evaluateHellaSwag(noting(8), bytewise, items),
      /item 18: expected a context of 1 to 8 tokens/,
    );
  },
);

Deno.test("textPerplexity() moves on by half a window where no stride is given", open, async () => {
  const text = "The whale dives and rises again.";
  for (const contextSize of [8, 9]) {
    const windows = async (stride?: number) => {
      const found: number[][] = [];
      const model = {
        ...noting(contextSize),
        loss(ids: Tensor, targets: Tensor): Tensor {
          found.push([...ids.shape, ...targets.shape]);
          return zeros([], { device });
        },
      };
      const progress: number[] = [];
      await textPerplexity(model, bytewise, text, {
        stride,
        onProgress: (done, total) => {
          assert.equal(total, text.length - 1);
          progress.push(done);
        },
      });
      assert.equal(progress.at(-1), text.length - 1);
      return found;
    };
    const usual = await windows();
    assert.deepEqual(usual, await windows(Math.ceil(contextSize / 2)));
    assert.notDeepEqual(usual, await windows(contextSize));
  }
});

Deno.test("accuracy() ignores what it is told to, the id 0 too", open, async () => {
  const logits = tensor([[9, 0, 0], [0, 9, 0], [9, 0, 0], [0, 0, 9]], { device });
  const targets = tensor([0, 1, 1, 0], { device, dtype: "i32" });
  const counts = async (ignoreIndex?: number) => {
    const { correct, count } = accuracy(logits, targets, { ignoreIndex });
    return (await readTensors([correct, count])).map(([n]) => n);
  };
  assert.deepEqual(await counts(), [2, 4]);
  assert.deepEqual(await counts(0), [1, 2]);
  assert.deepEqual(await counts(1), [1, 2]);
  assert.deepEqual(await counts(2), [2, 4]);
});
