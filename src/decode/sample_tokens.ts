/**
 * Continues a prompt by sampling.
 *
 * @module
 */
import { concat } from "../ops/concat.ts";
import { reshape } from "../ops/reshape.ts";
import { sample, type SampleOptions } from "../ops/sample.ts";
import { slice } from "../ops/slice.ts";
import { tensor } from "../tensor/create.ts";
import { Scope } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Device } from "../device/device.ts";

/** A model that scores next tokens. */
export interface NextTokenModel {
  /** The longest sequence it can read is `contextSize`. */
  readonly config: { readonly contextSize: number };
  /** Scores (B, V) of the token after ids (B, T). */
  nextLogits(ids: Tensor): Tensor;
}

/** Options of {@linkcode sampleTokens}. */
export interface SampleTokensOptions extends SampleOptions {
  /** How many tokens to add to each sequence. */
  readonly length: number;
  /** How many sequences to draw from the one prompt. Default: 1. */
  readonly samples?: number;
  /** Ids from here on are never drawn, as those that only pad a vocabulary. Default: the model's size. */
  readonly vocabSize?: number;
  /** Where the model lives. */
  readonly device: Device;
}

/**
 * Draws continuations of a prompt: every token is sampled on the device and fed back there, and the ids
 * are read once, at the end. Beyond the model's context the oldest tokens drop out of sight. Returns the
 * new ids of each sample. Throws a `RangeError` for an empty prompt.
 */
export async function sampleTokens(
  model: NextTokenModel,
  prompt: ArrayLike<number>,
  options: SampleTokensOptions,
): Promise<Uint32Array[]> {
  const { length, samples = 1, vocabSize, device, ...sampling } = options;
  if (prompt.length === 0) throw new RangeError("sampleTokens: the prompt is empty");
  const { contextSize } = model.config;
  const rows = Array.from({ length: samples }, () => Array.from(prompt)).flat();
  let ids = tensor(Int32Array.from(rows), { shape: [samples, prompt.length], device }).keep();
  try {
    for (let i = 0; i < length; i++) {
      using _scope = new Scope();
      const longer = noGrad(() => {
        const seen = ids.shape[1];
        const window = seen <= contextSize
          ? ids
          : slice(ids, [[0, samples], [seen - contextSize, seen]]);
        const scores = model.nextLogits(window);
        const real = vocabSize === undefined
          ? scores
          : slice(scores, [[0, samples], [0, vocabSize]]);
        const next = sample(real, sampling);
        return concat([ids, reshape(next, [samples, 1])], { axis: 1 }).keep();
      });
      ids.dispose();
      ids = longer;
    }
    const all = await ids.data();
    const width = prompt.length + length;
    return Array.from(
      { length: samples },
      (_, row) => Uint32Array.from(all.subarray(row * width + prompt.length, (row + 1) * width)),
    );
  } finally {
    ids.dispose();
  }
}
