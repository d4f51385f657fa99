/**
 * Samples ids from logits.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { philox, philoxWgsl, STREAM_PARAMS, type StreamParams } from "./philox.ts";
import { rowProgram, rowSources } from "../rows/rows.ts";
import wgsl from "./sample_token.wgsl" with { type: "text" };

/** Parameters of {@linkcode sampleToken}. */
export type SampleTokenParams = StreamParams & {
  /** The number of rows. */
  rows: number;
  /** The columns of a row. */
  columns: number;
  /** Columns from here on are never drawn. */
  choices: number;
  /** The number of the first row; 0 unless a launch is split. */
  first: number;
  /** The repetition penalty: positive scores of seen ids are divided by it, negative ones multiplied. */
  penalty: number;
  /** 1 / temperature; 0 stands for the temperature 0, which takes the highest score. */
  sharpness: number;
  /** Only the `topK` highest scores, and those equal to them, are drawn from. */
  topK: number;
  /** Only the smallest set of the likeliest columns with this total probability is drawn from, and equals. */
  topP: number;
  /** The logarithm of the lowest probability, relative to the highest, that is drawn from. */
  floor: number;
};

const sources = rowSources(`${wgsl}\n${philoxWgsl}`);

/**
 * ids (rows): for each row of logits (rows, columns) one column, drawn with the probabilities of the softmax after
 * penalty, temperature, top-k, top-p and min-p, in this order; -1 if all scores are NaN. If `seen` (rows, columns) is
 * given, the penalty applies to the columns where it is not 0. Draws (columns + 3) / 4 blocks of the stream for each
 * row.
 */
export const sampleToken: Kernel<SampleTokenParams> = kernel<SampleTokenParams>({
  name: "sample_token",
  bindings: {
    logits: { read: "rows columns" },
    seen: { read: "rows columns", optional: true },
    ids: { write: "rows", dtype: "i32" },
  },
  // deno-fmt-ignore
  params: { rows: "u32", columns: "u32", choices: "u32", ...STREAM_PARAMS, first: "u32", penalty: "f32",
    sharpness: "f32", topK: "u32", topP: "f32", floor: "f32" },
  gpu: ({ rows, columns, choices, sharpness, topK, topP }, target) =>
    // There are few rows, so each has a workgroup, also on software adapters.
    rowProgram(sources, { ...target, maxInvocations: Math.min(512, target.maxInvocations) }, {
      rows,
      columns,
      passes: 2 + (topK < choices ? 8 : 0) + (topP < 1 ? 8 : 0),
      tree: true,
      axis: "columns",
      constants: { NOISE: sharpness > 0 },
    }),
  cpu({ logits, seen, ids }, params) {
    const { rows, columns, choices, penalty } = params;
    const scores = new Float32Array(choices);
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < choices; i++) {
        const x = logits[row * columns + i];
        const penalised = seen?.[row * columns + i] ? (x > 0 ? x / penalty : x * penalty) : x;
        scores[i] = Number.isNaN(penalised)
          ? LOWEST
          : Math.min(Math.max(penalised, LOWEST), -LOWEST);
      }
      ids[row] = params.sharpness > 0 ? draw(scores, row, params) : highest(scores);
    }
  },
  split: "rows",
  splitStart: "first",
});

/** Lower than any score; marks columns that cannot be drawn. */
const LOWEST = Math.fround(-3.4028234e38);

/** The highest possible noise: the smallest random number is 2^-33. */
const MAX_NOISE = -Math.log(2 ** -33);

/** The first column with the highest score. */
function highest(scores: Float32Array): number {
  let best = LOWEST;
  let at = -1;
  for (let i = 0; i < scores.length; i++) if (scores[i]! > best) best = scores[at = i]!;
  return at;
}

/** The column with the highest score once noise is added. */
function draw(scores: Float32Array, row: number, params: SampleTokenParams): number {
  const { columns, first, seed_low, seed_high, block_low, block_high, sharpness, floor } = params;
  const top = scores.reduce((high, x) => Math.max(high, x), LOWEST);
  const lowest = lowestToStay(scores, top, params);
  const start = (first + row) * Math.ceil(columns / 4);
  const four = new Uint32Array(4);
  let drawn = -1;
  let best = -Infinity;
  let at = -1;
  // Random bits above this cannot win, since no z is above 0; so most columns need no logarithm.
  let limit = Infinity;
  for (let i = 0; i < scores.length; i++) {
    const z = (scores[i]! - top) * sharpness;
    const stays = scores[i]! > LOWEST && scores[i]! >= lowest && z >= floor;
    if (!stays || z + MAX_NOISE < best) continue;
    const block = start + (i >> 2);
    if (block !== drawn) {
      const low = block_low + block;
      const high = block_high + Math.floor(low / 2 ** 32);
      philox(low >>> 0, high >>> 0, 0, 0, seed_low, seed_high, four);
      drawn = block;
    }
    const bits = four[i & 3]!;
    if (bits > limit) continue;
    const noisy = z + gumbel(bits);
    if (!(noisy > best)) continue;
    best = noisy;
    at = i;
    limit = bitsOf(best);
  }
  return at;
}

/** The lowest score that remains after top-k and then top-p. */
function lowestToStay(
  scores: Float32Array,
  top: number,
  { topK, topP, sharpness }: SampleTokenParams,
): number {
  if (topK >= scores.length && topP >= 1) return LOWEST;
  const sorted = scores.slice().sort().reverse();
  const lowest = sorted[Math.min(topK, sorted.length) - 1]!;
  if (topP >= 1) return lowest;
  const masses: number[] = [];
  let mass = 0;
  for (let i = 0; i < sorted.length && sorted[i]! >= lowest; i++) {
    masses.push(mass += Math.exp((sorted[i]! - top) * sharpness));
  }
  return sorted[masses.findIndex((sum) => sum >= topP * mass)]!;
}

/** Random bits above which the noise is lower: the inverse of `gumbel`, with a margin for its rounding. */
function bitsOf(noise: number): number {
  return -Math.expm1(-Math.exp(-noise)) * 2 ** 32 + 1024;
}

/** Gumbel noise -log(-log(1 - u)) from random bits, with u in (0, 1) and finer near 0 (see the WGSL). */
function gumbel(bits: number): number {
  const u = bits < 2 ** 23 ? (bits + 0.5) * 2 ** -32 : ((bits >>> 9) + 0.5) * 2 ** -23;
  return -Math.log(-Math.log1p(-u));
}
