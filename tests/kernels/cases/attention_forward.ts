import {
  attentionParams,
  type PartialAttentionParams,
} from "../../../kernels/attention/attention.ts";
import {
  attentionForward,
  attentionForwardInt8,
} from "../../../kernels/attention/attention_forward.ts";
import { fromInt8, int8Words, toInt8 } from "../../../src/device/quantised.ts";
import { type Case, output, random } from "../case.ts";

/** Inputs of an attention, and the outputs of the reference. */
export function inputs(options: PartialAttentionParams, padded: boolean) {
  const params = attentionParams(options);
  const { batch, heads, kvHeads, queries, keys, d } = params;
  const q = random(batch * heads * queries * d, 1, 1);
  const k = random(batch * kvHeads * keys * d, 1, 2);
  const v = random(batch * kvHeads * keys * d, 1, 3);
  const keyValid = padded
    ? Int32Array.from({ length: batch * keys }, (_, i) => i % 5 === 3 ? 0 : 1)
    : undefined;
  const o = output(q.length);
  const lse = new Float32Array(2 * batch * heads * queries);
  return { params, bindings: { q, k, v, keyValid, o, lse } };
}

/** What the cases of all three kernels are about. */
export const situations: [
  name: string,
  options: PartialAttentionParams,
  padded: boolean,
  long?: boolean,
][] = [
  ["all see all", { batch: 2, heads: 3, queries: 13, keys: 13, d: 8 }, false],
  ["causal", { batch: 1, heads: 2, queries: 70, keys: 70, d: 64, step: 1 }, false],
  ["causal, more keys", { batch: 1, heads: 2, queries: 5, keys: 21, d: 7, step: 1 }, false],
  ["causal, more queries", { batch: 1, heads: 1, queries: 9, keys: 4, d: 4, step: 1 }, false],
  ["own block", { batch: 1, heads: 2, queries: 30, keys: 37, d: 8, step: 1, block: 7 }, false],
  ["window", { batch: 1, heads: 2, queries: 30, keys: 37, d: 8, step: 1, window: 7 }, false],
  [
    "every 4th key",
    { batch: 2, heads: 1, queries: 30, keys: 7, d: 8, step: 4, position: 0 },
    false,
  ],
  ["many keys", { batch: 1, heads: 1, queries: 8, keys: 17_000, d: 8 }, false, true],
  ["many queries", { batch: 1, heads: 2, kvHeads: 1, queries: 9000, keys: 8, d: 8 }, false, true],
  ["one query of many keys", { batch: 1, heads: 1, queries: 1, keys: 60_000, d: 8 }, false, true],
  ["padded, shared keys", { batch: 2, heads: 4, kvHeads: 2, queries: 11, keys: 19, d: 12 }, true],
  [
    "dropped weights",
    { batch: 2, heads: 2, queries: 37, keys: 37, d: 8, step: 1, block: 13, dropout: 0.25 },
    false,
  ],
];

const ownPositions: typeof situations[number] = [
  "own positions",
  { batch: 3, heads: 2, queries: 2, keys: 40, d: 8, step: 1, block: 16 },
  false,
];

/** The second half of `lse` is the backward pass's. */
const results: Case["normalise"] = ({ o, lse }) => ({ o, lse: lse.subarray(0, lse.length / 2) });

/** Heads of `d` numbers in int8, and the numbers that they then stand for. */
function inInt8(numbers: Float32Array, d: number) {
  const words = new Uint32Array(numbers.length / d * int8Words(d));
  const values = new Float32Array(numbers.length);
  for (let head = 0; head < numbers.length / d; head++) {
    const at = head * int8Words(d);
    toInt8(numbers.subarray(head * d, (head + 1) * d), words, at);
    values.set(fromInt8(words, at, d), head * d);
  }
  return { words, values };
}

/** Keys and values of int8 in a cache of which `keys` positions are filled, as BTHD. */
function int8Case(name: string, options: PartialAttentionParams, positions?: number[]): Case {
  const capacity = options.keys + 3;
  const { heads, kvHeads = heads, queries, d } = options;
  const words = int8Words(d);
  const { bindings: { q, k, v, o, lse } } = inputs({ ...options, keys: capacity }, false);
  const strides = (size: number) => ({
    ...{ kBatch: capacity * kvHeads * size, kTime: kvHeads * size, kHead: size },
    ...{ vBatch: capacity * kvHeads * size, vTime: kvHeads * size, vHead: size },
  });
  const own = { ...options, qBatch: queries * heads * d, qTime: heads * d, qHead: d };
  const [keys, values] = [inInt8(k, d), inInt8(v, d)];
  const common = { q, o, lse, positions: positions && Int32Array.from(positions) };
  return {
    kernel: attentionForwardInt8,
    name,
    params: attentionParams({ ...own, ...strides(words) }),
    bindings: { ...common, k: keys.words, v: values.words },
    normalise: results,
    exact() {
      const expected = { ...common, o: o.slice(), lse: lse.slice() };
      const params = attentionParams({ ...own, ...strides(d) });
      attentionForward.cpu({ ...expected, k: keys.values, v: values.values }, params);
      return { o: expected.o, lse: expected.lse.subarray(0, lse.length / 2) };
    },
  };
}

const int8Cases = [
  int8Case("one query", { batch: 2, heads: 4, kvHeads: 2, queries: 1, keys: 201, d: 64, step: 1 }),
  int8Case("odd heads", { batch: 1, heads: 3, queries: 2, keys: 21, d: 7, step: 1 }),
  int8Case("prefill", { batch: 1, heads: 4, kvHeads: 2, queries: 70, keys: 150, d: 32, step: 1 }),
  int8Case("window", { batch: 1, heads: 2, queries: 30, keys: 37, d: 8, step: 1, window: 7 }),
  int8Case(
    "own positions",
    { batch: 3, heads: 2, queries: 1, keys: 40, d: 80, step: 1, block: 16 },
    [0, 15, 31],
  ),
];

const floatCases = [...situations, ownPositions].map((situation): Case => {
  const [name, options, padded, long] = situation;
  const { params, bindings: common } = inputs(options, padded);
  const positions = situation === ownPositions ? Int32Array.of(0, 15, 31) : undefined;
  const bindings = { ...common, positions };
  return {
    kernel: attentionForward,
    name,
    long,
    tolerance: long ? 1e-4 : undefined,
    params,
    bindings,
    normalise: results,
  };
});

export const cases: Case[] = [...floatCases, ...int8Cases];
