/**
 * Beam search.
 *
 * @module
 */
import type { KeyValueCache } from "../nn/key_value_cache.ts";
import { cast } from "../ops/elementwise.ts";
import { checkSampling } from "../ops/sampling.ts";
import { logSoftmax } from "../ops/softmax.ts";
import { slice } from "../ops/shape.ts";
import { type TopK, topK } from "../ops/index.ts";
import { tensor } from "../tensor/create.ts";
import { scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import { readTensors, type Tensor } from "../tensor/tensor.ts";
import { checkedLength, checkPrompts, type NextTokenModel } from "./next_token_model.ts";
import { readPrompts } from "./read_prompts.ts";

/** Options of {@linkcode beamSearch}. */
export interface BeamSearchOptions {
  /** The number of paths followed for each prompt. */
  readonly width: number;
  /** The maximum number of tokens in a path. Default: what is left of the context. */
  readonly length?: number;
  /** A path ends at the first of these ids. Default: none. */
  readonly stopIds?: Iterable<number>;
  /** The exponent of the length by which a path's score is divided; above 0 it favours longer paths. Default: 0.75. */
  readonly alpha?: number;
  /** Ids from here on are never chosen, such as those that only pad a vocabulary. Default: all ids may be. */
  readonly vocabSize?: number | undefined;
  /** Aborting it ends the search, which then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** A continuation that beam search found. */
export interface BeamPath {
  /** The new ids, including the one that ended the path. */
  readonly ids: Uint32Array;
  /** The logarithm of the path's probability, divided by length^alpha. */
  readonly score: number;
  /** Whether the path reached one of the `stopIds`. */
  readonly ended: boolean;
}

/** A path in progress. */
interface Path {
  readonly ids: readonly number[];
  readonly logProbability: number;
  readonly score: number;
  readonly ended: boolean;
  /** The row that the path extends. */
  readonly row: number;
}

/**
 * Returns the `width` most likely continuations of each prompt that beam search finds, best first. Each round extends
 * every open path by its `width` likeliest tokens, sorts these together with the paths that have ended by sum(log p) /
 * length^alpha (Wu et al. 2016, "Google's Neural Machine Translation System", without its constant) and keeps the
 * `width` best, until all have ended or have `length` tokens. `width: 1` is greedy decoding.
 *
 * All open paths of all prompts form one batch on the device, each with its own rows of the cache; each round reads
 * from the device once.
 *
 * Throws a `RangeError` for a width below 1 or above the vocabulary size, an empty prompt, an id that the model does
 * not have, or paths longer than the context.
 *
 * @example
 * ```ts
 * import { beamSearch, CpuDevice, GPT2 } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 20, maxPositionEmbeddings: 16, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const model = new GPT2(sizes, { device });
 * const [paths] = await beamSearch(model, [[1, 2, 3]], { width: 2, length: 5, stopIds: [0] });
 * assert.equal(paths.length, 2);
 * assert(paths[0].score >= paths[1].score);
 * ```
 */
export async function beamSearch(
  model: NextTokenModel,
  prompts: readonly ArrayLike<number>[],
  options: BeamSearchOptions,
): Promise<BeamPath[][]> {
  const length = checkOptions(model, prompts, options);
  const { width, alpha = 0.75, signal } = options;
  const stops = new Set(options.stopIds);
  if (prompts.length === 0) return [];
  let beams: Path[][] = prompts.map((_, row) => [
    { ids: [], logProbability: 0, score: 0, ended: false, row },
  ]);
  using cache = model.createCache(prompts.length);
  for (let round = 0; round < length; round++) {
    signal?.throwIfAborted();
    const open = beams.flat().filter((path) => !path.ended);
    if (open.length === 0) break;
    const best = likeliest(
      options,
      () => round === 0 ? readPrompts(model, cache, prompts) : stepAll(model, cache, open),
    );
    using values = best.values.keep();
    using indices = best.indices.keep();
    const [logProbabilities, ids] = await readTensors([values, indices]);
    const damaged = logProbabilities.findIndex(Number.isNaN);
    if (damaged >= 0) {
      throw new Error(
        `beamSearch: expected finite scores but got NaN for path ${
          Math.floor(damaged / width)
        }; the weights may be damaged`,
      );
    }

    const continuations = (path: Path, row: number): Path[] =>
      Array.from({ length: width }, (_, i) => {
        const id = ids[row * width + i]!;
        const logProbability = path.logProbability + logProbabilities[row * width + i]!;
        const score = logProbability / (round + 1) ** alpha;
        return { ids: [...path.ids, id], logProbability, score, ended: stops.has(id), row };
      });
    let row = 0;
    beams = beams.map((beam) =>
      beam.flatMap((path) => path.ended ? [path] : continuations(path, row++))
        .sort((a, b) => b.score - a.score) // stable: equal scores keep their order
        .slice(0, width)
    );
  }
  return beams.map((beam) =>
    beam.map(({ ids, score, ended }) => ({ ids: Uint32Array.from(ids), score, ended }))
  );
}

/** Scores what follows every open path, after reordering the cache's rows to match the paths. */
function stepAll(model: NextTokenModel, cache: KeyValueCache, open: readonly Path[]): Tensor {
  cache.select(open.map((path) => path.row));
  const last = Int32Array.from(open, (path) => path.ids.at(-1)!);
  const ids = tensor(last, { shape: [open.length, 1], device: model.device });
  return model.nextLogits(ids, { cache });
}

/** Returns the `width` likeliest tokens of each row, with the logarithms of their probabilities. */
function likeliest({ width, vocabSize }: BeamSearchOptions, logits: () => Tensor): TopK {
  return noGrad(() =>
    scoped(() => {
      const all = cast(logits(), "f32");
      const [rows, columns] = all.shape as [number, number];
      const real = vocabSize === undefined || vocabSize === columns
        ? all
        : slice(all, [[0, rows], [0, vocabSize]]);
      return topK(logSoftmax(real), width);
    })
  );
}

/** Checks the arguments and returns the maximum number of tokens of a path. */
function checkOptions(
  model: NextTokenModel,
  prompts: readonly ArrayLike<number>[],
  options: BeamSearchOptions,
): number {
  const { width, alpha = 0.75, vocabSize = model.config.vocabSize } = options;
  checkPrompts("beamSearch", prompts, model.config.vocabSize);
  checkSampling("beamSearch", { vocabSize }, model.config.vocabSize);
  if (!(Number.isInteger(width) && width >= 1 && width <= vocabSize)) {
    throw new RangeError(`beamSearch: expected a width from 1 to ${vocabSize} but got ${width}`);
  }
  if (!Number.isFinite(alpha)) {
    throw new RangeError(`beamSearch: expected a number as alpha but got ${alpha}`);
  }
  return checkedLength("beamSearch", model, prompts, options.length);
}
