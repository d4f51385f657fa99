/**
 * What cards can do at most, from their makers' data sheets, to give measurements as a share of it.
 *
 * @module
 */

/** Peak rates of a card. */
export interface Peak {
  /** TFLOP/s in f32, without matrix units. */
  readonly f32: number;
  /** TFLOP/s of the matrix units, f16 in and f32 sums, without sparsity. */
  readonly matrix: number;
  /** TB/s of its memory. */
  readonly bandwidth: number;
}

const PEAKS: readonly [name: RegExp, peak: Peak][] = [
  [/h200/i, { f32: 67, matrix: 989, bandwidth: 4.8 }],
  [/h100.*pcie/i, { f32: 51, matrix: 756, bandwidth: 2.0 }],
  [/h100/i, { f32: 67, matrix: 989, bandwidth: 3.35 }],
  [/a100/i, { f32: 19.5, matrix: 312, bandwidth: 2.0 }],
  [/\bl4\b/i, { f32: 30.3, matrix: 121, bandwidth: 0.3 }],
  [/rtx 4090/i, { f32: 82.6, matrix: 165, bandwidth: 1.01 }],
  [/rtx 3090/i, { f32: 35.6, matrix: 71, bandwidth: 0.94 }],
];

/** The peak of the card with this name, undefined where it is not in the table. */
export function peakOf(name: string): Peak | undefined {
  return PEAKS.find(([pattern]) => pattern.test(name))?.[1];
}
