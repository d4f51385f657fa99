/**
 * Continues a text with a model that an example trained, or translates a sentence.
 *
 *     deno run --allow-read=runs examples/generate.ts <folder> "What is to be continued"
 *
 * The folder is a model's of `next_token_byte_pair.ts`, a run of `seq_to_seq_with_transformer.ts` (the sentence is then
 * translated), a run of `reproduce_gpt.ts`, whose newest checkpoint is taken, or has a GPT-2 or LLaMA in Hugging Face's
 * layout. A name like `openai-community/gpt2` is downloaded from the hub (with `--allow-net --allow-env` and
 * `--allow-write` for the cache), and a `.bin` is llama2.c's, with `tokenizer.bin` beside it. The text goes to the standard output as
 * it is written, all else to the standard error stream. All options: `--help`. Ctrl-C ends the text.
 *
 * @module
 */
import {
  beamSearch,
  cleanSentence,
  formatDuration,
  generateText,
  Interrupt,
  type NextTokenModel,
  openDevice,
  RandomState,
  type Tokenizer,
} from "../mod.ts";
import { findModel } from "./generate/load.ts";
import { parseOptions } from "./generate/options.ts";
import type { Interpreter } from "./seq_to_seq_with_transformer/interpreter.ts";

/** What is continued where nothing is given: a line that has ended. */
const BEGINNING = "\n";
/** Most tokens of a text, where nothing else is said. */
const LENGTH = 200;

/** Writes what the command line `args` asks for; true unless Ctrl-C ended it. */
export async function main(args: string[]): Promise<boolean> {
  const options = parseOptions(args);
  const device = await openDevice(options.device === "auto" ? {} : { kind: options.device });
  const found = await findModel(options.folder, device);
  const stopped = new AbortController();
  using _interrupt = new Interrupt(() => stopped.abort());
  try {
    if ("interpreter" in found) await translate(found.interpreter);
    else if (options.beam !== undefined) await search(found.model, found.tokenizer, options.beam);
    else await sample(found.model, found.tokenizer);
  } catch (error) {
    if (error !== stopped.signal.reason) throw error;
  }
  return !stopped.signal.aborted;

  /** Writes texts while they are drawn. */
  async function sample(model: NextTokenModel, tokenizer: Tokenizer): Promise<void> {
    const { prompt = BEGINNING, length = LENGTH, samples, seed, topK, ...sampling } = options;
    const random = new RandomState(seed);
    const counted = withCount(model);
    const started = performance.now();
    try {
      for (let i = 0; i < samples && !stopped.signal.aborted; i++) {
        if (samples > 1) write(`${i ? "\n" : ""}--- ${i + 1} ---\n`);
        write(options.prompt ?? "");
        const text = generateText(counted.model, tokenizer, prompt, {
          ...sampling,
          ...{ length, random, signal: stopped.signal },
          topK: topK && Math.min(topK, tokenizer.vocabSize),
          stopIds: endings(tokenizer),
        });
        for await (const piece of text) write(piece);
        write("\n");
      }
    } finally {
      if (stopped.signal.aborted) write("\n");
      const seconds = (performance.now() - started) / 1000;
      console.error(
        `${counted.tokens()} tokens in ${formatDuration(seconds)}, ` +
          `${Math.round(counted.tokens() / seconds).toLocaleString("en")} tokens/s, seed ${seed}`,
      );
    }
  }

  /** Writes the likeliest texts that beam search finds. */
  async function search(model: NextTokenModel, tokenizer: Tokenizer, width: number): Promise<void> {
    const { prompt = BEGINNING, samples } = options;
    const ids = tokenizer.encodeOrdinary(prompt);
    // A beam keeps all it has read, so its texts end with the context.
    const length = Math.min(options.length ?? LENGTH, model.config.contextSize - ids.length);
    const started = performance.now();
    const { vocabSize } = tokenizer;
    const { signal } = stopped;
    const [paths] = await beamSearch(model, [ids], { width, length, vocabSize, signal });
    const seconds = (performance.now() - started) / 1000;
    for (const { ids, score } of paths.slice(0, samples)) {
      if (samples > 1) write(`--- score ${score.toFixed(3)} ---\n`);
      write(`${options.prompt ?? ""}${tokenizer.decode(ids)}\n`);
    }
    console.error(
      `${length} tokens by ${width} paths in ${formatDuration(seconds)}, ` +
        `${Math.round(length / seconds).toLocaleString("en")} tokens/s`,
    );
  }

  /** Writes a translation. */
  async function translate(interpreter: Interpreter): Promise<void> {
    if (options.prompt === undefined) throw new Error("There is no sentence to translate");
    const sentence = cleanSentence(options.prompt);
    const unknown = interpreter.unknownWords(sentence);
    if (unknown.length) console.error(`not in the vocabulary: ${unknown.join(", ")}`);
    const [translation] = await interpreter.translate([sentence], options.beam ?? 3);
    write(`${translation}\n`);
  }
}

/** The ids that end a text. */
function endings({ specialTokens }: Tokenizer): number[] {
  return ["</s>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>"]
    .flatMap((name) => specialTokens.get(name) ?? []);
}

/** A model that counts the tokens that are drawn from it. */
function withCount(model: NextTokenModel): { model: NextTokenModel; tokens: () => number } {
  let tokens = 0;
  return {
    model: {
      config: model.config,
      device: model.device,
      createCache: (batch) => model.createCache(batch),
      nextLogits: (ids, options) => {
        tokens++;
        return model.nextLogits(ids, options);
      },
    },
    tokens: () => tokens,
  };
}

function write(text: string): void {
  for (let rest = new TextEncoder().encode(text); rest.length;) {
    rest = rest.subarray(Deno.stdout.writeSync(rest));
  }
}

if (import.meta.main) await main(Deno.args);
