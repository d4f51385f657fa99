/** The examples that `finetune` reads, as rows for the model. */
import {
  GPT3,
  holdOut,
  plainChatFormat,
  plainChatTemplate,
  type PreferencePair,
  type PretrainedTokenizer,
  readTuningData,
  type Rows,
  rowsOf,
  type TuningData,
  type TuningExample,
  type TuningFormat,
} from "../../../mod.ts";
import { UsageError } from "../failures.ts";
import type { FoundText, TextModel } from "../find_model.ts";
import { readText } from "../output.ts";
import type { Options } from "./options.ts";

/** The data that a run trains and validates on. */
export interface Corpus {
  readonly train: Rows["rows"];
  readonly validation: Rows["rows"];
  /** The number of tokens in a sequence. */
  readonly contextSize: number;
  /** Whether rows hold several examples, which do not see each other. */
  readonly packed: boolean;
  /** A description for display, one line. */
  readonly description: string;
  /** The text that samples continue. */
  readonly prompt: { readonly ids: ArrayLike<number>; readonly text: string };
  /** Ids at which a sample ends. */
  readonly stopIds: readonly number[];
}

/** Reads the examples. */
export async function openCorpus(
  options: Options,
  { model, tokenizer, chatTemplate, stopIds: ends }: FoundText,
): Promise<Corpus> {
  const template = await chatTemplate();
  const chat = template === plainChatTemplate
    ? plainChatFormat(ends.length > 0 ? tokenizer.decode(ends.slice(0, 1)) : "")
    : template.render;
  const format: TuningFormat = { tokenizer, end: ends[0], chat };
  const read = async (file: string) => {
    if (/\.(json|parquet|npy|bin|gz|zst|zip|gguf|safetensors)$/.test(file)) {
      throw new UsageError(
        `${file}: expected a text, or a .jsonl with one example per line, but got another format`,
      );
    }
    return readTuningData(await readText(file), file, format);
  };
  const all = await read(options.data);
  checkKind(options, all);
  const { train, validation } = options.val === undefined
    ? split(all, options)
    : { train: all, validation: await read(options.val) };
  if (validation.kind !== all.kind) {
    throw new UsageError(`--val: expected ${all.kind}, as in the data, but got ${validation.kind}`);
  }
  const pack = options.pack && !(model instanceof GPT3);
  const contextSize = options.context ?? contextOf(all, pack, model);
  if (contextSize > model.config.maxPositionEmbeddings) {
    throw new UsageError(
      `--context: expected at most the model's ${model.config.maxPositionEmbeddings} tokens but got ` +
        contextSize,
    );
  }
  const rows = [train, validation].map((data) => rowsOf(data, { contextSize, pack }));
  const packed = all.kind !== "pairs" &&
    rows.some(({ rows }) => rows.some((row) => row.length > 1));
  if (rows.some(({ rows }) => rows.length === 0)) {
    throw new UsageError(
      `${options.data}: expected rows of ${contextSize} tokens for training and validation but got ` +
        `${
          rows.map(({ rows }) => rows.length).join(" and ")
        }; use more data, another --val-split or a shorter --context`,
    );
  }
  return {
    train: rows[0]!.rows,
    validation: rows[1]!.rows,
    ...{ contextSize, packed },
    description: describe(options.data, [train, validation], rows, { contextSize, packed }) +
      (options.pack && model instanceof GPT3
        ? "; not packed (sparse attention has no borders)"
        : ""),
    prompt: promptOf(options, validation, tokenizer, contextSize),
    stopIds: ends,
  };
}

function checkKind({ dpo, data }: Options, { kind }: TuningData): void {
  if (dpo && kind !== "pairs") {
    throw new UsageError(
      `--dpo: expected "prompt", "chosen" and "rejected" in ${data} but got ${kind}`,
    );
  }
  if (!dpo && kind === "pairs") {
    throw new UsageError(`${data}: expected --dpo with pairs but got none`);
  }
}

/** Splits off examples, or the end of a single text, for validation. */
function split(
  data: TuningData,
  { valSplit, seed, data: file }: Options,
): { train: TuningData; validation: TuningData } {
  const { kind } = data;
  const [first] = data.examples;
  if (kind === "texts" && data.examples.length === 1) {
    const { ids, learned } = first as TuningExample;
    const at = Math.round(ids.length * (1 - valSplit));
    const part = (from: number, to?: number): TuningData => ({
      kind,
      examples: [{ ids: ids.slice(from, to), learned: learned.slice(from, to) }],
    });
    return { train: part(0, at), validation: part(at) };
  }
  const count = Math.max(1, Math.round(data.examples.length * valSplit));
  if (count >= data.examples.length) {
    throw new UsageError(
      `${file}: expected more examples, or --val, but got ${data.examples.length}`,
    );
  }
  const { train, validation } = holdOut<TuningExample | PreferencePair>(data.examples, count, seed);
  return {
    train: { kind, examples: train } as TuningData,
    validation: { kind, examples: validation } as TuningData,
  };
}

/**
 * Returns the length of the longest answer in tokens, at most the model's context. Packed rows leave less padding if they
 * are up to twice as long, as long as they hold no more than some eight answers, the default of a step.
 */
function contextOf({ kind, examples }: TuningData, pack: boolean, model: TextModel): number {
  const most = model.config.maxPositionEmbeddings;
  if (kind === "texts") return most;
  const lengths = examples.flatMap((example) =>
    ("ids" in example ? [example] : [example.chosen, example.rejected])
      .map(({ ids }) => ids.length - 1)
  );
  const longest = lengths.reduce((a, b) => Math.max(a, b), 1);
  const mean = lengths.reduce((a, b) => a + b, 0) / lengths.length;
  const isPacked = pack && kind === "answers";
  const wanted = isPacked ? Math.max(longest, Math.min(2 * longest, 8 * mean)) : longest;
  return Math.min(most, Math.ceil(wanted / 8) * 8);
}

function promptOf(
  { prompt }: Options,
  { kind, examples: [example] }: TuningData,
  tokenizer: PretrainedTokenizer,
  contextSize: number,
): Corpus["prompt"] {
  if (prompt !== undefined) {
    return { ids: [...tokenizer.prefix, ...tokenizer.encodeOrdinary(prompt)], text: prompt };
  }
  const { ids, learned } = "ids" in example! ? example : example!.chosen;
  const length = kind === "texts" ? Math.min(8, ids.length - 1) : learned.indexOf(1);
  const start = ids.subarray(0, Math.min(length, contextSize - 1));
  return { ids: start, text: tokenizer.decode(start) };
}

function describe(
  file: string,
  [train, validation]: readonly TuningData[],
  [first, second]: readonly Rows[],
  { contextSize, packed }: Pick<Corpus, "contextSize" | "packed">,
): string {
  const count = (n: number) => n.toLocaleString("en");
  const named = ({ kind, examples: { length } }: TuningData) =>
    `${count(length)} ${length === 1 ? kind.slice(0, -1) : kind}`;
  const [cut, leftOut] = [first!.cut + second!.cut, first!.leftOut + second!.leftOut];
  const sequences = first!.rows.flat();
  const read = sequences.reduce((sum, { ids }) => sum + ids.length - 1, 0);
  const space = contextSize * (packed ? first!.rows : sequences).length;
  return `${file}: ${named(train!)} in ${count(first!.rows.length)} rows of ` +
    `${contextSize} tokens (${Math.round(100 - 100 * read / space)} % padding) for training, ` +
    `${count(validation!.examples.length)} in ${count(second!.rows.length)} for validation` +
    (cut ? `; ${count(cut)} truncated` : "") +
    (leftOut ? `; ${count(leftOut)} left out (prompt too long)` : "");
}
