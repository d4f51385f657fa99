// The data for fine-tuning: texts, prompts with completions, conversations, and pairs of answers.
import { FileFormatError } from "../io/errors.ts";
import type { PretrainedTokenizer, Tokenizer } from "../tokenizer/tokenizer.ts";
import type { ChatFormat, ChatMessage } from "./chat_format.ts";
import { type JsonLine, parseJsonLines, textField } from "./jsonl.ts";
import { shuffledOrder } from "./shuffled_order.ts";

/** A sequence of tokens, some of which are to be predicted. */
export interface TuningExample {
  /** The tokens. */
  readonly ids: Int32Array;
  /** For each token 1 if the model is to learn it, as in an answer, and 0 if it is only read. */
  readonly learned: Uint8Array;
}

/** Two answers to one prompt, the first of which is better. */
export interface PreferencePair {
  /** The prompt and the better answer. */
  readonly chosen: TuningExample;
  /** The prompt and the other answer. */
  readonly rejected: TuningExample;
}

/** The examples of a file. */
export type TuningData =
  | { readonly kind: "texts" | "answers"; readonly examples: readonly TuningExample[] }
  | { readonly kind: "pairs"; readonly examples: readonly PreferencePair[] };

/** How texts become tokens. */
export interface TuningFormat {
  /** The model's tokenizer. */
  readonly tokenizer: Tokenizer & Partial<Pick<PretrainedTokenizer, "prefix">>;
  /** The format of conversations. */
  readonly chat: ChatFormat;
  /** The token after each text and completion. Default: none. */
  readonly end?: number | undefined;
}

/**
 * Parses the examples in the `text` of a file. A `.jsonl` or `.ndjson` file has one example per line: `text`; `prompt` and
 * `completion`; `messages`, with `role` and `content`; or `prompt`, `chosen` and `rejected`, which are all texts or all
 * messages. All lines are of one kind. Any other file is one text. The model learns all tokens of a text, and otherwise
 * only the completions and what the assistant says.
 *
 * @throws {FileFormatError} with the line that is something else, and where there are no examples
 */
export function readTuningData(text: string, file: string, format: TuningFormat): TuningData {
  if (!/\.(jsonl|ndjson)$/.test(file)) {
    if (text === "") throw new FileFormatError("expected a text but got an empty file", { file });
    return { kind: "texts", examples: [textExample(text, format)] };
  }
  let kind: TuningData["kind"] | undefined;
  const examples: (TuningExample | PreferencePair)[] = [];
  for (const line of parseJsonLines(text, file)) {
    const found = kindOf(line, file);
    kind ??= found;
    if (found !== kind) {
      throw new FileFormatError(`line ${line.line}: expected ${kind} as before but got ${found}`, {
        file,
      });
    }
    examples.push(exampleOf(line, file, found, format));
  }
  if (!kind) throw new FileFormatError("expected examples, one a line, but got none", { file });
  return { kind, examples } as TuningData;
}

function kindOf({ line, value }: JsonLine, file: string): TuningData["kind"] {
  const has = (...names: string[]) => names.every((name) => Object.hasOwn(value, name));
  if (has("prompt", "chosen", "rejected")) return "pairs";
  if (has("messages") || has("prompt", "completion")) return "answers";
  if (has("text")) return "texts";
  throw new FileFormatError(
    `line ${line}: expected "text", "messages", "prompt" and "completion", or "prompt", "chosen" and ` +
      `"rejected" but got ${Object.keys(value).join(", ").slice(0, 200) || "nothing"}`,
    { file },
  );
}

function exampleOf(
  line: JsonLine,
  file: string,
  kind: TuningData["kind"],
  format: TuningFormat,
): TuningExample | PreferencePair {
  if (kind === "texts") return textExample(textField(line, "text", file), format);
  if (kind === "pairs") {
    return {
      chosen: answerExample(line, file, "chosen", format),
      rejected: answerExample(line, file, "rejected", format),
    };
  }
  if (!Object.hasOwn(line.value, "messages")) {
    return answerExample(line, file, "completion", format);
  }
  return conversation([], messagesOf(line, "messages", file), line, file, format);
}

function textExample(text: string, { tokenizer, end }: TuningFormat): TuningExample {
  const tokens = new TokenList();
  tokens.add(tokenizer.prefix ?? [], false);
  tokens.add(tokenizer.encodeOrdinary(text), true);
  if (end !== undefined) tokens.add([end], true);
  return tokens.example();
}

/** Reads a prompt and the answer in a field, as texts or as messages. */
function answerExample(
  line: JsonLine,
  file: string,
  field: string,
  format: TuningFormat,
): TuningExample {
  if (typeof line.value.prompt !== "string") {
    const prompt = messagesOf(line, "prompt", file);
    return conversation(prompt, messagesOf(line, field, file), line, file, format);
  }
  const { tokenizer, end } = format;
  const tokens = new TokenList();
  tokens.add(tokenizer.prefix ?? [], false);
  // As in generation, where the answer does not exist yet when the prompt is encoded.
  tokens.add(tokenizer.encodeOrdinary(line.value.prompt), false);
  tokens.add(tokenizer.encodeOrdinary(textField(line, field, file)), true);
  if (end !== undefined) tokens.add([end], true);
  return tokens.example();
}

/** Encodes the messages of a conversation; only what the assistant says after `before` is learned. */
function conversation(
  before: readonly ChatMessage[],
  after: readonly ChatMessage[],
  { line }: JsonLine,
  file: string,
  { tokenizer, chat }: TuningFormat,
): TuningExample {
  const all = [...before, ...after];
  const tokens = new TokenList();
  const encode = (text: string) => tokenizer.encode(text, { allowedSpecial: "all" });
  let read = "";
  const goOn = (to: string, learned: boolean) => {
    if (!to.startsWith(read)) {
      throw new FileFormatError(
        `line ${line}: expected a chat template that only adds to earlier messages but got one that ` +
          "changes them",
        { file },
      );
    }
    const ids = encode(to.slice(read.length));
    const { prefix = [] } = tokenizer;
    // Templates write the prefix themselves.
    if (read === "" && ids[0] !== prefix[0]) tokens.add(prefix, false);
    tokens.add(ids, learned);
    read = to;
  };
  all.forEach(({ role }, i) => {
    if (role !== "assistant" || i < before.length) return;
    goOn(chat(all.slice(0, i), { addGenerationPrompt: true }), false);
    goOn(chat(all.slice(0, i + 1), { addGenerationPrompt: false }), true);
  });
  if (read === "") {
    throw new FileFormatError(`line ${line}: expected a message of the assistant but got none`, {
      file,
    });
  }
  return tokens.example();
}

function messagesOf({ line, value }: JsonLine, field: string, file: string): ChatMessage[] {
  const found = value[field];
  const isMessage = (one: unknown) =>
    typeof one === "object" && one !== null &&
    ["role", "content"].every((name) => typeof (one as Record<string, unknown>)[name] === "string");
  if (Array.isArray(found) && found.every(isMessage)) return found;
  throw new FileFormatError(
    `line ${line}: expected messages with "role" and "content" in "${field}" but got something else`,
    { file },
  );
}

/** A list of tokens under construction. */
class TokenList {
  readonly #ids: number[] = [];
  readonly #learned: number[] = [];

  add(ids: ArrayLike<number>, learned: boolean): void {
    for (let i = 0; i < ids.length; i++) {
      this.#ids.push(ids[i]!);
      this.#learned.push(Number(learned));
    }
  }

  example(): TuningExample {
    return { ids: Int32Array.from(this.#ids), learned: Uint8Array.from(this.#learned) };
  }
}

/** Splits examples at random by `seed`: `count` for validation, the rest for training. */
export function holdOut<E>(
  examples: readonly E[],
  count: number,
  seed: number,
): { train: E[]; validation: E[] } {
  const held = new Set(shuffledOrder(examples.length, seed, 0).subarray(0, count));
  return {
    train: examples.filter((_, i) => !held.has(i)),
    validation: examples.filter((_, i) => held.has(i)),
  };
}

/** How rows are made. */
export interface RowOptions {
  /** The number of tokens that a model reads at once. */
  readonly contextSize: number;
  /**
   * Whether several texts or answers share a row if they fit, which saves padding. A `RowLoader` gives each of them
   * positions of its own, so that it sees nothing of its neighbours. Default: each has a row of its own.
   */
  readonly pack?: boolean | undefined;
}

/** Rows for a {@linkcode RowLoader}, and how many examples were too long for one. */
export interface Rows {
  /** Sequences of at most contextSize + 1 tokens, some of them learned; a row of a pair has two. */
  readonly rows: readonly (readonly TuningExample[])[];
  /** The number of examples of which only the beginning was kept. */
  readonly cut: number;
  /** The number of examples left out because their beginning has nothing to learn. */
  readonly leftOut: number;
}

/** Makes rows out of examples: windows of the texts, one answer or several, or the two sequences of a pair. */
export function rowsOf(data: TuningData, { contextSize, pack = false }: RowOptions): Rows {
  let [cut, leftOut] = [0, 0];
  const rows: TuningExample[][] = [];
  if (data.kind === "texts") {
    for (const text of data.examples) {
      for (const window of windowsOf(text, contextSize)) rows.push([window]);
    }
  } else {
    const fitting = (example: TuningExample) => partOf(example, 0, contextSize + 1);
    const sequencesOf = (one: TuningExample | PreferencePair) =>
      "ids" in one ? [one] : [one.chosen, one.rejected];
    for (const example of data.examples) {
      const whole = sequencesOf(example);
      const row = whole.map(fitting);
      if (!row.every(isLearned)) leftOut++;
      else {
        if (row.some(({ ids }, i) => ids.length < whole[i]!.ids.length)) cut++;
        rows.push(row);
      }
    }
  }
  const isPacked = pack && data.kind !== "pairs";
  return { rows: isPacked ? packed(rows.flat(), contextSize) : rows, cut, leftOut };
}

/**
 * Puts sequences into rows of so many tokens: the longest first, each into the fullest row that has space for it (best
 * fit). A sequence takes one token less than it has, since nothing is predicted from its last.
 */
function packed(sequences: readonly TuningExample[], contextSize: number): TuningExample[][] {
  const rows: TuningExample[][] = [];
  const bySpace = Array.from({ length: contextSize + 1 }, (): TuningExample[][] => []);
  for (const sequence of sequences.toSorted((a, b) => b.ids.length - a.ids.length)) {
    const length = sequence.ids.length - 1;
    let space = length;
    while (space < contextSize && bySpace[space]!.length === 0) space++;
    const row = bySpace[space]!.pop() ?? [];
    if (row.length === 0) rows.push(row);
    row.push(sequence);
    bySpace[space - length]!.push(row);
  }
  return rows;
}

/** Whether there is something to predict; the first token of a row is not predicted. */
function isLearned({ learned }: TuningExample): boolean {
  return learned.indexOf(1, 1) > 0;
}

function partOf({ ids, learned }: TuningExample, from: number, to: number): TuningExample {
  return { ids: ids.subarray(from, to), learned: learned.subarray(from, to) };
}

/**
 * Cuts a text into windows of `contextSize` + 1 tokens; the last of each is the first of the next, so that each is
 * predicted once.
 */
function windowsOf(text: TuningExample, contextSize: number): TuningExample[] {
  const windows: TuningExample[] = [];
  for (let at = 0; at + 1 < text.ids.length; at += contextSize) {
    const window = partOf(text, at, at + contextSize + 1);
    if (isLearned(window)) windows.push(window);
  }
  return windows;
}
