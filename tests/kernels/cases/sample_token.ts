import { sampleToken } from "../../../kernels/sampling/sample_token.ts";
import type { TypedArray } from "../../../src/device/dtype.ts";
import { type Case, random, randomIds } from "../case.ts";

const plain = { penalty: 1, sharpness: 1, topP: 1, floor: -3e38 };

interface Options {
  readonly sharpness?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly floor?: number;
  readonly penalty?: number;
  readonly choices?: number;
}

/** Ids of the same stream on both devices. */
function drawn(
  name: string,
  [rows, columns]: readonly [number, number],
  options: Options = {},
  more: { logits?: TypedArray; seen?: TypedArray } & Partial<Case> = {},
): Case {
  const { logits = random(rows * columns, 6), seen, ...rest } = more;
  return {
    kernel: sampleToken,
    name: `${name}, [${rows}, ${columns}]`,
    bindings: { logits, seen, ids: new Int32Array(rows).fill(-9) },
    params: {
      rows,
      columns,
      ...{ choices: columns, topK: columns, ...plain, ...options },
      ...{ seed_low: 5, seed_high: 7, block_low: 0xfffffff0, block_high: 1, first: 0 },
    },
    tolerance: 0,
    ...rest,
  };
}

const none = Float32Array.of(NaN, -Infinity, NaN, -Infinity, NaN, 2, -Infinity, 1);
const signed = Float32Array.of(-1, 4, 3.5, -2, 1, 2, 3, 4);

export const cases: Case[] = [
  drawn("plain", [40, 37]),
  drawn("four at a time", [40, 756]),
  ...[[8, 1026], [3, 50_257], [2, 65_537], [2, 300_001], [2, 50_304]].flatMap(([rows, columns]) => [
    drawn("long, plain", [rows, columns], {}, { long: true }),
    drawn("long, top-k and top-p", [rows, columns], { topK: 50, topP: 0.9 }, { long: true }),
  ]),
  drawn("one score", [3, 1]),
  drawn("no rows", [0, 8]),
  drawn("hot", [16, 5000], { sharpness: 0.2 }),
  drawn("top-k", [40, 37], { topK: 5 }),
  drawn("top-k of equals", [9, 12], { topK: 3 }, { logits: new Float32Array(108) }),
  drawn("top-p", [40, 36], { topP: 0.7 }),
  drawn("top-p of nothing takes the likeliest", [5, 36], { topP: 0 }),
  drawn("min-p", [40, 37], { floor: Math.log(0.2) }),
  drawn("all of it", [40, 128], { topK: 50, topP: 0.8, floor: -2, sharpness: 0.7, choices: 101 }),
  drawn("penalty, seen of i32", [20, 37], { penalty: 2, topP: 0.9 }, {
    seen: randomIds(20 * 37, 2),
  }),
  drawn("penalty, seen of u32", [20, 36], { penalty: 1.5 }, {
    seen: Uint32Array.from(randomIds(20 * 36, 2)),
  }),
  drawn("the highest, the first of equals", [2, 8], { sharpness: 0 }, {
    logits: Float32Array.of(1, 7, 7, 0, 7, 1, 2, 3, -4, -3, -2, -2, -9, -8, -7, -6),
    exact: () => ({ ids: [1, 2] }),
  }),
  drawn("the highest of some, penalised", [2, 4], { sharpness: 0, penalty: 2, choices: 3 }, {
    logits: signed,
    seen: Int32Array.of(0, 1, 0, 0, 0, 1, 1, 0),
    exact: () => ({ ids: [2, 2] }),
  }),
  drawn("NaN is never drawn", [2, 4], { topK: 1 }, {
    logits: none,
    exact: () => ({ ids: [-1, 1] }),
  }),
  drawn("nothing to take", [2, 4], { sharpness: 0 }, {
    logits: none,
    exact: () => ({ ids: [-1, 1] }),
  }),
  drawn("f16", [9, 36], { topK: 9 }, { logits: Float16Array.from(random(9 * 36, 4)) }),
  drawn("over the binding limit", [130, 64], { topK: 20 }, { limit: 16_384 }),
];
