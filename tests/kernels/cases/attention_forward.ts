import {
  attentionParams,
  type PartialAttentionParams,
} from "../../../kernels/attention/attention.ts";
import { attentionForward } from "../../../kernels/attention/attention_forward.ts";
import { type Case, documentPositions, output, random } from "../case.ts";

/** Inputs of an attention, and the outputs of the reference. */
export function inputs(options: PartialAttentionParams, padded: boolean) {
  const params = attentionParams(options);
  const { batch, heads, kvHeads, queries, keys, d } = params;
  const q = random(batch * heads * queries * d, 1, 1);
  const k = random(batch * kvHeads * keys * d, 1, 2);
  const v = random(batch * kvHeads * keys * d, 1, 3);
  const mask = params.documents
    ? documentPositions(batch, keys)
    : padded
    ? Int32Array.from({ length: batch * keys }, (_, i) => i % 5 === 3 ? 0 : 1)
    : undefined;
  const o = output(q.length);
  const lse = new Float32Array(2 * batch * heads * queries);
  return { params, bindings: { q, k, v, mask, o, lse } };
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
    "documents",
    {
      batch: 2,
      heads: 2,
      kvHeads: 1,
      queries: 90,
      keys: 90,
      d: 8,
      step: 1,
      documents: 1,
      window: 20,
    },
    false,
  ],
  [
    "short documents",
    { batch: 2, heads: 2, queries: 3, keys: 3, d: 8, step: 1, documents: 1 },
    false,
  ],
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

export const cases: Case[] = [...situations, ownPositions].map((situation) => {
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
    // The second half of `lse` is the backward pass's.
    normalise: ({ o, lse }) => ({ o, lse: lse.subarray(0, lse.length / 2) }),
  };
});
