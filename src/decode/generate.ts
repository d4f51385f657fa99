/**
 * Continues sequences of token ids.
 *
 * @module
 */
import type { NextTokenModel } from "./next_token_model.ts";
import { type TokenOptions, tokenSteps } from "./token_steps.ts";

export type { TokenOptions } from "./token_steps.ts";

/** Options of {@linkcode generateTokens}. */
export interface GenerateTokensOptions extends TokenOptions {
  /** A sequence ends at the first of these ids. Default: none. */
  readonly stopIds?: Iterable<number>;
}

/** Options of {@linkcode generate}. */
export interface GenerateOptions extends GenerateTokensOptions {
  /** The number of sequences for each prompt. Default: 1. */
  readonly samples?: number;
  /**
   * Called with every new id as it is read, step by step and row by row within a step: `row` is the index in what
   * {@linkcode generate} returns, and `id` may be the stop id that ends the row. Returning `false` ends the row with
   * this id; throwing ends the whole generation.
   */
  readonly onToken?: (row: number, id: number) => boolean | void;
}

/** The continuation of a prompt. */
export interface Generation {
  /** The new ids, including the one that ended the sequence. */
  readonly ids: Uint32Array;
  /** Why it ended: `"stop"` for one of the `stopIds` or `onToken`, `"length"` for the `length`. */
  readonly ended: "stop" | "length";
}

/** What {@linkcode generate} returns for prompts `P`: at least one generation if there is a prompt. */
export type Generations<P extends readonly unknown[]> = P extends readonly [unknown, ...unknown[]]
  ? [Generation, ...Generation[]]
  : Generation[];

/**
 * Continues prompts of any lengths in one batch with a key-value cache: every id is sampled on the device and fed back
 * there. `temperature: 0` decodes greedily. Returns the `samples` sequences of each prompt side by side. A seed gives
 * the same ids on every device, up to rounding. `onToken` receives the ids as they come.
 *
 * Throws a `RangeError` for an empty prompt, an id that the model does not have, an option out of range, or sequences
 * longer than the context unless `overflow` allows them.
 *
 * @example
 * ```ts
 * import { CpuDevice, generate, GPT2, RandomState } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 20, maxPositionEmbeddings: 16, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const model = new GPT2(sizes, { device });
 * const streams: number[][] = [[], []];
 * const [first, second] = await generate(model, [[1, 2, 3], [4]], {
 *   length: 5,
 *   topK: 10,
 *   random: new RandomState(1),
 *   onToken: (row, id) => void streams[row].push(id),
 * });
 * assert.equal(first.ids.length, 5);
 * assert.equal(second.ended, "length");
 * assert.deepEqual(streams[0], [...first.ids]);
 * ```
 */
export async function generate<const P extends readonly ArrayLike<number>[]>(
  model: NextTokenModel,
  prompts: P,
  options?: GenerateOptions,
): Promise<Generations<P>> {
  const { stopIds = [], samples = 1, onToken, ...rest } = options ?? {};
  const stops = new Set(stopIds);
  const rows = Array.from(
    { length: prompts.length * samples },
    () => ({ ids: [] as number[], ended: "length" as Generation["ended"] }),
  );
  for await (const step of tokenSteps("generate", model, prompts, samples, rest)) {
    rows.forEach((row, r) => {
      if (row.ended === "stop") return;
      const id = step[r]!;
      row.ids.push(id);
      const goesOn = onToken?.(r, id) !== false;
      if (!goesOn || stops.has(id)) row.ended = "stop";
    });
    if (rows.every((row) => row.ended === "stop")) break;
  }
  return rows.map(({ ids, ended }) => ({ ids: Uint32Array.from(ids), ended })) as Generations<P>;
}

/**
 * Continues one prompt and yields the new ids as they are read: one at a time on the CPU, in growing blocks on WebGPU.
 * If one of the `stopIds` ends the sequence, it is yielded last. Otherwise the same as {@linkcode generate}; leaving
 * the loop early frees everything.
 *
 * @example
 * ```ts
 * import { CpuDevice, generateTokens, GPT2 } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 20, maxPositionEmbeddings: 16, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const model = new GPT2(sizes, { device });
 * const ids = await Array.fromAsync(generateTokens(model, [1, 2], { length: 4, temperature: 0 }));
 * assert.equal(ids.length, 4);
 * ```
 */
export async function* generateTokens(
  model: NextTokenModel,
  prompt: ArrayLike<number>,
  options?: GenerateTokensOptions,
): AsyncGenerator<number, void, void> {
  const { stopIds = [], ...rest } = options ?? {};
  const stops = new Set(stopIds);
  for await (const [id] of tokenSteps("generateTokens", model, [prompt], 1, rest)) {
    yield id!;
    if (stops.has(id!)) return;
  }
}
