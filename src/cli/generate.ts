/** `dinograd generate`: continues a text, or translates a sentence. */
import {
  beamSearch,
  cleanSentence,
  continuationText,
  formatDuration,
  generateText,
  Interrupt,
  type NextTokenModel,
  promptIds,
  RandomState,
} from "../../mod.ts";
import { UsageError } from "./failures.ts";
import { addAdapter, findModel, type FoundText } from "./find_model.ts";
import { type Options, parseOptions } from "./generate_options.ts";
import type { Interpreter } from "./interpreter.ts";
import { openChosenDevice } from "./open_device.ts";
import { print, write } from "./output.ts";

/** What is continued where nothing is given: a line that has ended. */
const BEGINNING = "\n";
/** Most tokens of a text, where nothing else is said. */
const LENGTH = 200;

/** Writes what the command line `args` asks for. A signal ends the text. */
export async function generate(args: string[]): Promise<void> {
  const options = parseOptions(args);
  if (options.prompt === "") {
    throw new UsageError("generate: expected a prompt but got an empty one");
  }
  const device = await openChosenDevice(options);
  const found = await findModel(options.folder, device, {
    matrices: options.dtype ?? "stored",
  });
  if ("model" in found) found.model.cacheDtype = options.cacheDtype;
  else if (options.cacheDtype) {
    throw new UsageError(
      "--cache-dtype: expected a model that continues a text but got a translator",
    );
  }
  for (const adapter of options.adapter) {
    if ("interpreter" in found) {
      throw new UsageError(
        "--adapter: expected a model that continues a text but got a translator",
      );
    }
    await addAdapter(adapter, found.model);
  }
  using interrupt = new Interrupt();
  const { signal } = interrupt;
  try {
    if ("interpreter" in found) await translate(found.interpreter, options);
    else if (options.beam === undefined) await sample(found, options, signal);
    else await search(found, options, options.beam, signal);
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
  }
  if (signal.aborted) Deno.exitCode = interrupt.exitCode;
}

/** Writes texts while they are drawn. */
async function sample(
  { model, tokenizer, stopIds }: FoundText,
  options: Options,
  signal: AbortSignal,
): Promise<void> {
  const { prompt = BEGINNING, length = LENGTH, samples, seed, topK, ...sampling } = options;
  const random = new RandomState(seed);
  const counted = withCount(model);
  const started = performance.now();
  try {
    for (let i = 0; i < samples && !signal.aborted; i++) {
      if (samples > 1) write(`${i ? "\n" : ""}--- ${i + 1} ---\n`);
      write(options.prompt ?? "");
      const text = generateText(counted.model, tokenizer, prompt, {
        ...sampling,
        ...{ length, random, signal },
        topK: topK && Math.min(topK, tokenizer.vocabSize),
        stopIds,
      });
      for await (const piece of text) write(piece);
      write("\n");
    }
  } catch (error) {
    write("\n"); // after what was written of a line
    throw error;
  } finally {
    const seconds = (performance.now() - started) / 1000;
    if (counted.tokens()) {
      console.error(
        `${counted.tokens()} tokens in ${formatDuration(seconds)}, ` +
          `${Math.round(counted.tokens() / seconds).toLocaleString("en")} tokens/s, seed ${seed}`,
      );
    }
  }
}

/** Writes the likeliest texts that beam search finds. */
async function search(
  { model, tokenizer, stopIds }: FoundText,
  options: Options,
  width: number,
  signal: AbortSignal,
): Promise<void> {
  const { prompt = BEGINNING, samples } = options;
  const ids = promptIds(tokenizer, prompt);
  // A beam keeps all it has read, so its texts end with the context.
  const length = Math.min(
    options.length ?? LENGTH,
    model.config.maxPositionEmbeddings - ids.length,
  );
  const started = performance.now();
  const vocabSize = Math.min(tokenizer.vocabSize, model.config.vocabSize);
  const [paths] = await beamSearch(model, [ids], { width, length, stopIds, vocabSize, signal });
  const seconds = (performance.now() - started) / 1000;
  for (const { ids, score } of paths!.slice(0, samples)) {
    if (samples > 1) print(`--- score ${score.toFixed(3)} ---`);
    const text = stopIds.includes(ids.at(-1)!) ? ids.subarray(0, -1) : ids;
    print(`${options.prompt ?? ""}${continuationText(tokenizer, text)}`);
  }
  const drawn = Math.max(...paths!.map(({ ids }) => ids.length));
  console.error(
    `${drawn} tokens with a beam of ${width} in ${formatDuration(seconds)}, ` +
      `${Math.round(drawn / seconds).toLocaleString("en")} tokens/s`,
  );
}

/** Writes a translation. */
async function translate(interpreter: Interpreter, { prompt, beam = 3 }: Options): Promise<void> {
  if (prompt === undefined) {
    throw new Error("generate: expected a sentence to translate but got none");
  }
  const sentence = cleanSentence(prompt);
  const unknown = interpreter.unknownWords(sentence);
  if (unknown.length) console.error(`not in the vocabulary: ${unknown.join(", ")}`);
  const [translation] = await interpreter.translate([sentence], beam);
  print(translation!.text);
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
