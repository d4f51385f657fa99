/**
 * Sampling from logits.
 *
 * @module
 */
import { sampleToken } from "../../kernels/sampling/sample_token.ts";
import { defaultRandom, type RandomState } from "../tensor/random.ts";
import { formatShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, checkIds, checkRank, sameDevice } from "./check.ts";

/** Options that change the probabilities before a token is drawn. They are applied in the order listed here. */
export interface SamplingOptions {
  /**
   * Divides positive logits of earlier ids by this, and multiplies negative ones (Keskar et al. 2019, "CTRL"). Values
   * above 1 discourage repetition. Default: 1.
   */
  readonly repetitionPenalty?: number;
  /** Divides the logits. Below 1, likely ids become likelier; 0 always takes the likeliest. Default: 1. */
  readonly temperature?: number;
  /** Draws only among this many highest logits (and ties). Default: all. */
  readonly topK?: number | undefined;
  /**
   * Draws only among the smallest set of likeliest ids (and ties) whose probabilities add up to this (Holtzman et al.
   * 2020, "The Curious Case of Neural Text Degeneration"). Default: 1.
   */
  readonly topP?: number;
  /** Draws only among ids with at least this fraction of the likeliest one's probability. Default: 0. */
  readonly minP?: number;
  /** Ids from this one on are never drawn, for a vocabulary with padding. Default: all may be drawn. */
  readonly vocabSize?: number | undefined;
}

/** Throws a `RangeError` unless every option is in range for a model of `columns` ids. The message begins with `op`. */
export function checkSampling(op: string, options: SamplingOptions, columns: number): void {
  const { repetitionPenalty = 1, temperature = 1, topK = 1, topP = 1, minP = 0 } = options;
  const { vocabSize = columns } = options;
  const check = (right: boolean, wanted: string, value: number): void => {
    if (!right) throw new RangeError(`${op}: expected ${wanted} but got ${value}`);
  };
  const finite = (x: number): boolean => x >= 0 && x < Infinity;
  const part = (x: number): boolean => x >= 0 && x <= 1;
  const whole = Number.isInteger(vocabSize);
  check(
    repetitionPenalty > 0 && finite(repetitionPenalty),
    "a repetitionPenalty above 0",
    repetitionPenalty,
  );
  check(finite(temperature), "a temperature of 0 or more", temperature);
  check(Number.isInteger(topK) && topK >= 1, "a topK of 1 or more", topK);
  check(part(topP), "a topP from 0 to 1", topP);
  check(part(minP), "a minP from 0 to 1", minP);
  check(
    whole && vocabSize >= 1 && vocabSize <= columns,
    `a vocabSize from 1 to ${columns}`,
    vocabSize,
  );
}

/** Options of {@linkcode sample}. */
export interface SampleOptions extends SamplingOptions {
  /** The ids that `repetitionPenalty` applies to: nonzero in (B, V), of `i32` or `u32`. */
  readonly seen?: Tensor | undefined;
  /** The random stream to draw from. Default: the shared one (see `manualSeed`). */
  readonly random?: RandomState | undefined;
}

/**
 * Draws one id for each row of `logits` (B, V) with the probabilities of its softmax: (B) of `i32`. It runs on the
 * device, in one launch: the argmax of the logits plus Gumbel noise (Gumbel 1954). A seed gives the same ids on every
 * device. Gives -1 if all logits of a row are NaN. Has no gradient.
 *
 * Throws a `RangeError` for an option out of range, and a `TypeError` for a penalty without `seen`.
 *
 * @example
 * ```ts
 * import { CpuDevice, RandomState, sample, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using logits = tensor([[0, 9, 0], [5, 5, 0]], { device });
 * using ids = sample(logits, { topP: 0.9, random: new RandomState(1) });
 * const [first, second] = await ids.data();
 * assert.equal(first, 1);
 * assert(second === 0 || second === 1);
 * ```
 */
export function sample(logits: Tensor, options?: SampleOptions): Tensor {
  checkFloat("sample", logits);
  checkRank("sample", logits, 2, "logits (B, V)");
  const [rows, columns] = logits.shape as [number, number];
  checkSampling("sample", options ?? {}, columns);
  const { repetitionPenalty = 1, temperature = 1, topK = columns, topP = 1, minP = 0 } = options ??
    {};
  const { vocabSize = columns, random = defaultRandom() } = options ?? {};
  const seen = repetitionPenalty === 1 ? undefined : options?.seen;
  if (repetitionPenalty !== 1) checkSeen(logits, seen);
  const device = sameDevice("sample", logits, seen);
  const ids = Tensor.empty(device, [rows], "i32");
  const drawn = temperature === 0 ? 0 : rows * Math.ceil(columns / 4) * 4;
  device.launch(sampleToken, { logits, seen, ids }, {
    rows,
    columns,
    choices: vocabSize,
    ...random.draw(drawn),
    first: 0,
    penalty: repetitionPenalty,
    sharpness: temperature === 0 ? 0 : Math.min(1 / temperature, 1e30),
    topK: Math.min(topK, columns),
    topP,
    floor: Math.max(Math.log(minP), -3e38),
  });
  return ids;
}

function checkSeen(logits: Tensor, seen: Tensor | undefined): void {
  if (!seen) {
    throw new TypeError("sample: expected seen (B, V) with a repetitionPenalty but got none");
  }
  checkIds("sample", seen);
  if (formatShape(seen.shape) !== formatShape(logits.shape)) {
    throw new TypeError(
      `sample: expected seen of shape ${formatShape(logits.shape)} but got ${
        formatShape(seen.shape)
      }`,
    );
  }
}
