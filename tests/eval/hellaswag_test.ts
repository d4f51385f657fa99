import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { dataset, loadHellaSwag } from "../../data/hellaswag.ts";
import { evaluateHellaSwag, type HellaSwagScore } from "../../src/eval/hellaswag.ts";
import { textPerplexity } from "../../src/eval/text_perplexity.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { crossEntropy } from "../../src/ops/loss.ts";
import { embedding } from "../../src/ops/index.ts";
import type { Device } from "../../src/device/device.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope, scoped } from "../../src/tensor/scope.ts";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";
import { BytePairTokenizer } from "../../src/tokenizer/byte_pair_tokenizer.ts";
import type { Tokenizer } from "../../src/tokenizer/tokenizer.ts";
import { inFolder } from "../support/examples.ts";
import { onEachDevice } from "../support/devices.ts";

/** Its tokens are the bytes of a text. */
const bytewise = BytePairTokenizer.train("", { merges: 0 });

/**
 * A model that knows two kinds of next byte: after a byte below "n" a byte below "n" is likely, else one from "n" on; its
 * probabilities are known.
 */
class HalfAlphabet {
  readonly config: { maxPositionEmbeddings: number };
  readonly device: Device;
  readonly #scores: Tensor;

  constructor(device: Device, contextSize = 64) {
    this.device = device;
    this.config = { maxPositionEmbeddings: contextSize };
    const row = (id: number) => Array.from({ length: 256 }, (_, next) => scoreOf(id, next));
    this.#scores = tensor(Array.from({ length: 256 }, (_, id) => row(id)), { device });
  }

  logits(ids: Tensor): Tensor {
    return embedding(this.#scores, ids);
  }

  loss(ids: Tensor, targets: Tensor): Tensor {
    return scoped(() => crossEntropy(this.logits(ids), targets));
  }

  dispose(): void {
    this.#scores.dispose();
  }
}

function scoreOf(id: number, next: number): number {
  const [a, b] = [id, next].map((byte) => byte >= 0x6e);
  return (a === b ? 3 : 0) + next % 5 / 4;
}

/** -log p(next | id) in float64. */
function lossAfter(id: number, next: number): number {
  let sum = 0;
  for (let i = 0; i < 256; i++) sum += Math.exp(scoreOf(id, i));
  return Math.log(sum) - scoreOf(id, next);
}

/** Loss of each byte of `end` after those before it. */
function endLosses(context: string, end: string): number[] {
  const bytes = [...new TextEncoder().encode(`${context} ${end}`)];
  const first = new TextEncoder().encode(context).length;
  return bytes.slice(first).map((byte, i) => lossAfter(bytes[first + i - 1], byte));
}

const STORIES = [
  // By the sum a short end is best, by the mean one that goes on in its own half.
  { ctx: "abc", endings: ["zz", "abcabcabcabc", "zyzyzyzyzyzyzyzy", "azazazaz"], label: 1 },
  { ctx: "xyz", endings: ["abababab", "zyxzyxzyx", "a", "qaqaqaqa"], label: "1" },
  { ctx: "né 🐋", endings: ["zaza", "aaaaaa", "z", "zzzzzzzzzzzzzzzzzzzzzzzz"], label: 3 },
  { ctx: "m", endings: ["n", "m", "mn", "nm"], label: 0 },
  { ctx: "long, ".repeat(20), endings: ["one", "two two two", "ab", "z".repeat(50)], label: 3 },
];

/** Makes the weights of a model larger, so that it finds some tokens likelier than others. */
async function giveOpinions(model: GPT2): Promise<void> {
  const weights = [...model.parameters().values()].filter(({ shape }) => shape.length === 2);
  const values = await readTensors(weights);
  weights.forEach(({ device, buffer }, i) => {
    device.write(buffer, Float32Array.from(values[i] as Float32Array, (x) => 12 * x));
  });
}

/** -log softmax(logits)[id] in float64. */
function lossIn(logits: number[], id: number): number {
  return Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0)) - logits[id];
}

const lowest = (values: number[]) => values.indexOf(Math.min(...values));

async function writeStories(folder: string, stories: readonly object[] = STORIES): Promise<string> {
  const path = join(folder, "stories.jsonl");
  const more = { ind: 24, activity_label: "made up", split: "val" };
  const lines = stories.map((story) => JSON.stringify({ ...more, ...story }));
  await Deno.writeTextFile(path, lines.join("\n") + "\n");
  return path;
}

await onEachDevice(
  "evaluateHellaSwag() chooses as float64 does by sum and by mean",
  async (device) => {
    using _scope = new Scope();
    const model = new HalfAlphabet(device);
    await inFolder(async (folder) => {
      const items = await loadHellaSwag({ path: await writeStories(folder) });
      const chosen = STORIES.map(({ ctx, endings, label }) => {
        const losses = endings.map((end) => endLosses(ctx, end));
        const sums = losses.map((all) => all.reduce((a, b) => a + b));
        const means = sums.map((sum, i) => sum / losses[i].length);
        return [lowest(sums), lowest(means)].map((choice) => choice === Number(label) ? 1 : 0);
      });
      const [acc, accNorm] = [0, 1].map((k) => chosen.reduce((sum, hit) => sum + hit[k], 0));
      assert.notEqual(acc, accNorm);
      assert(accNorm > 0 && accNorm < STORIES.length);
      // Many of them, so that there are several reads; the ends are as unequal in length as can be.
      const many = Array.from({ length: 8 }, () => items).flat();
      const before = device.memory().live;
      const scores: HellaSwagScore[] = [];
      const score = await evaluateHellaSwag(model, bytewise, many, {
        onProgress: (score, total) => {
          assert.equal(total, 40);
          scores.push(score);
        },
      });
      assert.deepEqual(score, { items: 40, acc: acc / 5, accNorm: accNorm / 5 });
      assert.deepEqual(scores.map(({ items }) => items), [16, 32, 40]);
      assert.deepEqual(scores.at(-1), score);
      assert.equal(device.memory().live, before);
      const first = await evaluateHellaSwag(model, bytewise, items, { limit: 1 });
      assert.deepEqual(first, { items: 1, acc: chosen[0][0], accNorm: chosen[0][1] });
    });
  },
);

await onEachDevice(
  "evaluateHellaSwag() pads without a trace and drops the beginning of long contexts",
  async (device) => {
    using _scope = new Scope();
    const sizes = {
      vocabSize: 256,
      maxPositionEmbeddings: 24,
      hiddenSize: 16,
      numHiddenLayers: 2,
      numAttentionHeads: 2,
    };
    const random = new RandomState(5);
    const model = new GPT2(sizes, { device, random });
    await giveOpinions(model);
    const stories = [
      { context: "A whale", endings: ["sings.", "is a very large fish", "a", "no"], label: 0 },
      {
        context: "It is longer than the model's context of tokens",
        endings: ["so?", "it is cut off"],
        label: 1,
      },
    ];
    for (const story of stories) {
      const means: number[] = [];
      for (const ending of story.endings) {
        const bytes = [...new TextEncoder().encode(`${story.context} ${ending}`)].slice(-25);
        using ids = tensor([bytes.slice(0, -1)], { device, dtype: "i32" });
        using logits = scoped(() => model.logits(ids));
        const rows = (await logits.toArray() as number[][][])[0];
        const losses = rows.map((row, i) => lossIn(row, bytes[i + 1])).slice(-ending.length - 1);
        means.push(losses.reduce((a, b) => a + b) / losses.length);
      }
      assert(Math.max(...means) - Math.min(...means) > 0.05);
      const hits = await Promise.all(story.endings.map(async (_, label) => {
        const { accNorm } = await evaluateHellaSwag(model, bytewise, [{ ...story, label }]);
        return accNorm;
      }));
      assert.deepEqual(hits, means.map((_, i) => i === lowest(means) ? 1 : 0));
    }
    model.dispose();
  },
);

await onEachDevice("evaluateHellaSwag() throws for what cannot be scored", async (device) => {
  using _scope = new Scope();
  const model = new HalfAlphabet(device, 8);
  const item = { context: "abc", endings: ["a", "b"], label: 0 };
  const rejects = (items: (typeof item)[], message: RegExp, options = {}) =>
    assert.rejects(evaluateHellaSwag(model, bytewise, items, options), message);
  await rejects([], /^RangeError: evaluateHellaSwag: expected one item at least but got 0/);
  await rejects([item], /expected one item at least but got 1, limited to 0$/, { limit: 0 });
  await rejects(
    [item, { ...item, endings: ["a", "eight, no"] }],
    /item 1: .* but got 3 and an end of 10/,
  );
  await rejects([{ ...item, context: "" }], /item 0: .* but got 0 and an end of 2/);
  await rejects([item], /^AbortError: /, { signal: AbortSignal.abort() });
});

Deno.test("evaluateHellaSwag() reads a context and its ending as one text, after what comes before texts", async () => {
  using device = CpuDevice.open({ threads: 1 });
  const model = new HalfAlphabet(device, 8);
  // Like SentencePiece's tokenizers, it puts a space before a text.
  const tokenizer = Object.create(bytewise, {
    prefix: { value: [1] },
    encodeOrdinary: { value: (text: string) => bytewise.encodeOrdinary(` ${text}`) },
  }) as Tokenizer;
  const item = { context: "abc", endings: ["a", "eight, no"], label: 0 };
  // The message has how many tokens each of them is.
  const tooLong = evaluateHellaSwag(model, tokenizer, [item]);
  await assert.rejects(tooLong, /item 0: .* but got 5 and an end of 10$/);
  model.dispose();
});

Deno.test("loadHellaSwag() names the line when an item is not one", async () => {
  await inFolder(async (folder) => {
    const refuses = async (change: object, message: RegExp) => {
      const path = await writeStories(folder, [STORIES[0], { ...STORIES[1], ...change }]);
      await assert.rejects(loadHellaSwag({ path }), (error: Error) => {
        assert(error instanceof FileFormatError);
        assert.match(error.message, message);
        return true;
      });
    };
    await refuses(
      { ctx: undefined },
      /stories\.jsonl: line 2: expected a text in "ctx" but got only /,
    );
    await refuses({ ctx: "" }, /line 2: expected a text in "ctx" but got an empty one$/);
    await refuses(
      { endings: ["one"] },
      /line 2: expected two texts or more in "endings" but got .*$/,
    );
    await refuses({ label: 4 }, /line 2: expected a number from 0 to 3 in "label" but got 4$/);
    await refuses({ label: "" }, /line 2: expected a number from 0 to 3 in "label" but got ""$/);
  });
});

Deno.test("loadHellaSwag() refuses a download that is another file", async () => {
  const other = new TextEncoder().encode("{}\n");
  assert.notEqual(createHash("sha256").update(other).digest("hex"), dataset.sha256);
  const listen = { port: 0, hostname: "127.0.0.1", onListen() {} };
  const server = Deno.serve(listen, () => new Response(other));
  try {
    await inFolder(async (cache) => {
      const url = `http://127.0.0.1:${server.addr.port}/`;
      await assert.rejects(loadHellaSwag({ url, cache }), /expected SHA-256 0aa3b888/);
    });
  } finally {
    await server.shutdown();
  }
});

const TEXT = "The whale — né 1851 🐋 — swims. ".repeat(6);

await onEachDevice(
  "textPerplexity() scores each token once, as float64 does, with any stride",
  async (device) => {
    using _scope = new Scope();
    const model = new HalfAlphabet(device, 32);
    const bytes = [...new TextEncoder().encode(TEXT)];
    const expected = bytes.slice(1).reduce((sum, byte, i) => sum + lossAfter(bytes[i], byte), 0);
    const before = device.memory().live;
    for (const stride of [1, 7, 16, 31, 32]) {
      const found = await textPerplexity(model, bytewise, TEXT, { stride });
      assert.equal(found.tokens, bytes.length - 1);
      assert.equal(found.bytes, bytes.length - 1);
      const loss = expected / (bytes.length - 1);
      assert(Math.abs(found.loss - loss) < 1e-5, `${stride}: ${found.loss} instead of ${loss}`);
      assert.equal(found.perplexity, Math.exp(found.loss));
      assert(Math.abs(found.bitsPerByte - loss / Math.LN2) < 1e-5); // a byte a token
    }
    const started = await textPerplexity(model, bytewise, TEXT, { before: 10, contextSize: 9 });
    assert.equal(started.tokens, bytes.length);
    const loss = (expected + lossAfter(10, bytes[0])) / bytes.length;
    assert(Math.abs(started.loss - loss) < 1e-5);
    assert.equal(device.memory().live, before);
  },
);

await onEachDevice(
  "textPerplexity() gives each token the context that its window has",
  async (device) => {
    using _scope = new Scope();
    const sizes = {
      vocabSize: 256,
      maxPositionEmbeddings: 16,
      hiddenSize: 16,
      numHiddenLayers: 1,
      numAttentionHeads: 2,
    };
    const model = new GPT2(sizes, { device, random: new RandomState(3) });
    await giveOpinions(model);
    const text = TEXT.slice(0, 40);
    const bytes = [...new TextEncoder().encode(text)];
    const stride = 6;
    // Hugging Face's loop, a token at a time.
    let sum = 0;
    for (let t = 1; t < bytes.length; t++) {
      const start = t < 16 ? 0 : stride * (Math.floor((t - 16) / stride) + 1);
      using ids = tensor([bytes.slice(start, t)], { device, dtype: "i32" });
      using logits = scoped(() => model.nextLogits(ids));
      const [row] = await logits.toArray() as number[][];
      sum += lossIn(row, bytes[t]);
    }
    const progress: number[][] = [];
    const { loss, tokens } = await textPerplexity(model, bytewise, text, {
      stride,
      onProgress: (...counts) => progress.push(counts),
    });
    assert.equal(tokens, bytes.length - 1);
    assert(Math.abs(loss - sum / tokens) < 1e-4, `${loss} instead of ${sum / tokens}`);
    assert.deepEqual(progress, [[tokens, tokens]]);
    const apart = await textPerplexity(model, bytewise, text, { stride: 16 });
    assert(Math.abs(apart.loss - loss) > 1e-3, "another stride gives other contexts");
    model.dispose();
  },
);

await onEachDevice(
  "textPerplexity() throws for windows and texts that are too short",
  async (device) => {
    using _scope = new Scope();
    const model = new HalfAlphabet(device, 8);
    const rejects = (text: string, options: object, message: RegExp) =>
      assert.rejects(textPerplexity(model, bytewise, text, options), message);
    await rejects(
      "a",
      {},
      /^RangeError: textPerplexity: expected a longer text but got 1 tokens$/,
    );
    await rejects("", { before: 1 }, /expected a longer text but got 0 tokens$/);
    await rejects("abc", { contextSize: 9 }, /expected windows of 2 to 8 tokens but got 9$/);
    await rejects("abc", { stride: 0 }, /expected a stride from 1 to 8 but got 0$/);
    await rejects("abc", { contextSize: 4, stride: 5 }, /expected a stride from 1 to 4 but got 5$/);
  },
);
