import assert from "node:assert/strict";
import { type ChatFormat, plainChatFormat } from "../../src/data/chat_format.ts";
import {
  holdOut,
  readTuningData,
  rowsOf,
  type TuningExample,
  type TuningFormat,
} from "../../src/data/examples.ts";
import { RowLoader } from "../../src/data/row_loader.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { jinjaChatTemplate } from "../../src/pretrained/chat_template.ts";
import { GPT2Tokenizer } from "../../src/tokenizer/gpt2_tokenizer.ts";

const tokenizer = new GPT2Tokenizer();
const end = tokenizer.endOfText;
const format: TuningFormat = { tokenizer, end, chat: plainChatFormat("<|endoftext|>") };
const read = (lines: unknown[], other: Partial<TuningFormat> = {}) =>
  readTuningData(lines.map((line) => JSON.stringify(line)).join("\n"), "data.jsonl", {
    ...format,
    ...other,
  });

/** What is read and what is learned, as texts. */
function parts({ ids, learned }: TuningExample): [string, string][] {
  const found: [string, string][] = [];
  ids.forEach((id, i) => {
    if (i === 0 || learned[i] !== learned[i - 1]) found.push([learned[i] ? "learned" : "read", ""]);
    found.at(-1)![1] += tokenizer.decode([id]);
  });
  return found;
}

Deno.test("of a prompt and its completion the completion and the end are learned", () => {
  const data = read([{ prompt: "2 + 2 =", completion: " 4" }]);
  assert.equal(data.kind, "answers");
  assert.deepEqual(parts(data.examples[0] as TuningExample), [
    ["read", "2 + 2 ="],
    ["learned", " 4<|endoftext|>"],
  ]);
});

Deno.test("of messages what the assistant says is learned, every time", () => {
  const messages = [
    { role: "system", content: "Be brief." },
    { role: "user", content: "Hello" },
    { role: "assistant", content: "Hi" },
    { role: "user", content: "Who are you?" },
    { role: "assistant", content: "A model" },
    { role: "user", content: "Bye" },
  ];
  const expected: [string, string][] = [
    ["read", "Be brief.\n\nUser: Hello\nAssistant:"],
    ["learned", " Hi<|endoftext|>\n"],
    ["read", "User: Who are you?\nAssistant:"],
    ["learned", " A model<|endoftext|>\n"],
  ];
  const { examples } = read([{ messages }]);
  assert.deepEqual(parts(examples[0] as TuningExample), expected);
  const answer = { prompt: messages.slice(0, 4), completion: messages.slice(4, 5) };
  assert.deepEqual(parts(read([answer]).examples[0] as TuningExample), [
    ["read", expected.slice(0, 3).map(([, text]) => text).join("")],
    expected[3],
  ]);
});

Deno.test("pairs have a prompt and two answers; texts are learned whole, with what begins and ends them", () => {
  const pairs = read([{ prompt: "Q:", chosen: " yes", rejected: " no" }]);
  assert.ok(pairs.kind === "pairs");
  assert.deepEqual(parts(pairs.examples[0].chosen).at(-1), ["learned", " yes<|endoftext|>"]);
  assert.deepEqual(parts(pairs.examples[0].rejected).at(-1), ["learned", " no<|endoftext|>"]);
  const withPrefix = Object.assign(new GPT2Tokenizer(), { prefix: [end] });
  const texts = read([{ text: "One." }, { text: "Two." }], { tokenizer: withPrefix });
  assert.deepEqual(parts(texts.examples[1] as TuningExample), [
    ["read", "<|endoftext|>"],
    ["learned", "Two.<|endoftext|>"],
  ]);
  const whole = readTuningData("One. Two.", "book.txt", format);
  assert.deepEqual(parts(whole.examples[0] as TuningExample), [[
    "learned",
    "One. Two.<|endoftext|>",
  ]]);
});

Deno.test("lines that are no examples are refused with their number", () => {
  const good = { prompt: "a", completion: "b" };
  const changing: ChatFormat = (messages) => messages.map(() => String(messages.length)).join("");
  const refused: [unknown[], RegExp, Partial<TuningFormat>?][] = [
    [[good, { text: "c" }], /data.jsonl: line 2: expected answers as before but got texts/],
    [[{ question: "a" }], /line 1: expected "text", .* but got question/],
    [
      [{ prompt: "a", completion: 3 }],
      /line 1: expected a text in "completion" but got a number/,
    ],
    [[{ messages: [{ role: "user" }] }], /line 1: expected messages with "role" and "content"/],
    [[{ messages: [{ role: "user", content: "a" }] }], /expected a message of the assistant/],
    [
      [{ messages: ["user", "assistant"].map((role) => ({ role, content: "a" })) }],
      /line 1: expected a chat template that only adds/,
      { chat: changing },
    ],
    [[], /expected examples, one a line, but got none/],
  ];
  for (const [lines, message, other] of refused) {
    assert.throws(() => read(lines, other), (error: Error) => {
      assert.match(error.message, message);
      return error instanceof FileFormatError;
    });
  }
});

const example = (length: number, learned = 1): TuningExample => ({
  ids: Int32Array.from({ length }, (_, i) => i + 1),
  learned: Uint8Array.from({ length }, (_, i) => Number(i >= length - learned)),
});

Deno.test("answers are cut to the context, left out where nothing is learned then, and packed", () => {
  const data = {
    kind: "answers" as const,
    examples: [example(3), example(9, 6), example(9, 1), example(2), example(3)],
  };
  const plain = rowsOf(data, { contextSize: 5 });
  assert.deepEqual([plain.cut, plain.leftOut], [1, 1]);
  assert.deepEqual(plain.rows.map(([{ ids }]) => ids.length), [3, 6, 2, 3]);
  const packed = rowsOf(data, { contextSize: 5, pack: true });
  // The last token of each is not read.
  assert.deepEqual(packed.rows.map((row) => row.map(({ ids }) => ids.length)), [[6], [3, 3, 2]]);
  assert.deepEqual([packed.cut, packed.leftOut], [1, 1]);
});

Deno.test("packed rows hold each sequence once and have little padding", () => {
  const lengths = Array.from({ length: 300 }, (_, i) => 5 + i * 37 % 90);
  const examples = lengths.map((length) => example(length));
  const contextSize = 128;
  const { rows } = rowsOf({ kind: "answers", examples }, { contextSize, pack: true });
  const inOrder = (numbers: number[]) => numbers.toSorted((a, b) => a - b);
  assert.deepEqual(inOrder(rows.flat().map(({ ids }) => ids.length)), inOrder(lengths));
  assert.equal(new Set(rows.flat()).size, 300);
  const read = rows.map((row) => row.reduce((sum, { ids }) => sum + ids.length - 1, 0));
  assert.ok(read.every((tokens) => tokens <= contextSize));
  const padding = 1 - read.reduce((a, b) => a + b) / (rows.length * contextSize);
  assert.ok(padding < 0.02, `${padding}`);
});

Deno.test("every token of a text but the first is predicted once", () => {
  const data = { kind: "texts" as const, examples: [example(7, 7), example(3, 3)] };
  const { rows } = rowsOf(data, { contextSize: 4 });
  assert.deepEqual(rows.map(([{ ids }]) => [...ids]), [[1, 2, 3, 4, 5], [5, 6, 7], [1, 2, 3]]);
  const packed = rowsOf(data, { contextSize: 4, pack: true }).rows;
  assert.deepEqual(packed.map((row) => row.map(({ ids }) => ids.length)), [[5], [3, 3]]);
});

Deno.test("RowLoader takes every row once an epoch, in another order each time, and goes on anywhere", async () => {
  const rows = Array.from({ length: 5 }, (_, i) => [{
    ids: Int32Array.of(i, i + 10),
    learned: Uint8Array.of(0, 1),
  }]);
  const options = { batchSize: 2, contextSize: 3, seed: 4 };
  const loader = new RowLoader(rows, options);
  const take = async (from: RowLoader) => {
    const { inputs, targets } = await from.next();
    assert.deepEqual([targets[0], targets[1]], [inputs[0] + 10, -100]);
    return [inputs[0], inputs[3]];
  };
  const seen: number[] = [];
  for (let i = 0; i < 3; i++) seen.push(...await take(loader));
  const state = JSON.parse(JSON.stringify(loader.state()));
  for (let i = 0; i < 2; i++) seen.push(...await take(loader));
  const [first, second] = [seen.slice(0, 5), seen.slice(5)];
  assert.deepEqual([first.toSorted(), second.toSorted()], [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]);
  assert.notDeepEqual(first, second);
  const other = new RowLoader(rows, options);
  other.restore(state);
  assert.deepEqual(await take(other), seen.slice(6, 8));
  assert.throws(
    () => new RowLoader(rows.slice(1), options).restore(state),
    /RangeError: RowLoader/,
  );
  assert.throws(() => new RowLoader(rows, { ...options, seed: 5 }).restore(state), RangeError);
  assert.throws(() => new RowLoader([], options), /expected rows but got none/);
  assert.throws(() => new RowLoader([[example(9)]], options), /at most 4 tokens but got 9/);
});

Deno.test("two sequences of a row lie side by side, each padded", async () => {
  const loader = new RowLoader([[example(3), example(2)]], { batchSize: 1, contextSize: 4 });
  assert.deepEqual([loader.contextSize, loader.batchTokens], [8, 8]);
  const { inputs, targets } = await loader.next();
  assert.deepEqual([...inputs], [1, 2, 0, 0, 1, 0, 0, 0]);
  assert.deepEqual([...targets], [-100, 3, -100, -100, 2, -100, -100, -100]);
});

Deno.test("packed sequences of a row follow one another, each from position 0", async () => {
  const rows = [[example(3), example(2)], [example(4, 2)]];
  const loader = new RowLoader(rows, { batchSize: 2, contextSize: 4, pack: true });
  assert.deepEqual([loader.contextSize, loader.batchTokens], [4, 8]);
  const { inputs, targets, positions } = await loader.next();
  assert.deepEqual([...inputs], [1, 2, 1, 0, 1, 2, 3, 0]);
  assert.deepEqual([...targets], [-100, 3, 2, -100, -100, 3, 4, -100]);
  assert.deepEqual([...positions!], [0, 1, 0, 0, 0, 1, 2, 0]);
  assert.throws(
    () => new RowLoader([[example(4), example(3)]], { batchSize: 1, contextSize: 4, pack: true }),
    /RowLoader: expected rows of at most 4 tokens but got 5/,
  );
});

Deno.test("holdOut() draws by the seed, and leaves the order", () => {
  const all = Array.from({ length: 20 }, (_, i) => i);
  const { train, validation } = holdOut(all, 5, 1);
  assert.equal(validation.length, 5);
  assert.deepEqual([...train, ...validation].toSorted((a, b) => a - b), all);
  assert.deepEqual(train, train.toSorted((a, b) => a - b));
  assert.deepEqual(holdOut(all, 5, 1), { train, validation });
  assert.notDeepEqual(holdOut(all, 5, 2).validation, validation);
});

Deno.test("messages are written by a model's chat template, the prompt of an answer as chat writes it", async () => {
  const template = await jinjaChatTemplate(
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|endoftext|>\n{% endfor %}" +
      "{% if add_generation_prompt %}<|assistant|>{% endif %}",
  );
  const messages = [
    { role: "user", content: "Hello" },
    { role: "assistant", content: "Hi" },
  ];
  const { examples: [example] } = read([{ messages }], { chat: template.render });
  const { ids } = example as TuningExample;
  assert.deepEqual(parts(example as TuningExample), [
    ["read", "<|user|>Hello<|endoftext|>\n<|assistant|>"],
    ["learned", "Hi<|endoftext|>\n"],
  ]);
  const prompt = template.encode(messages.slice(0, 1), tokenizer);
  assert.deepEqual([...ids.subarray(0, prompt.length)], [...prompt]);
});
