/**
 * A small call of every operation, by file of `src/ops/`. A function exported there must stand here or among
 * the {@linkcode helpers}; a test sees to it.
 *
 * @module
 */
import {
  gelu,
  leakyRelu,
  relu,
  reluSquared,
  sigmoid,
  silu,
  softcap,
  softplus,
  swiglu,
  tanh,
} from "../../src/ops/activations.ts";
import {
  add,
  cast,
  div,
  equal,
  greater,
  greaterEqual,
  isNaN,
  less,
  lessEqual,
  logicalAnd,
  logicalNot,
  logicalOr,
  maskedFill,
  maximum,
  minimum,
  mul,
  neg,
  notEqual,
  pow,
  sub,
  tril,
  triu,
  where,
} from "../../src/ops/elementwise.ts";
import {
  attention,
  attentionWeights,
  selfAttention,
  sparseAttention,
  sparseAttentionWeights,
} from "../../src/ops/attention.ts";
import {
  broadcastTo,
  concat,
  flatten,
  flip,
  pad,
  permute,
  reshape,
  slice,
  split,
  squeeze,
  stack,
  tile,
  transpose,
  unsqueeze,
} from "../../src/ops/shape.ts";
import { einsum } from "../../src/ops/einsum.ts";
import {
  binaryCrossEntropy,
  binaryCrossEntropyWithLogits,
  crossEntropy,
  huberLoss,
  klDiv,
  l1Loss,
  linearCrossEntropy,
  mseLoss,
} from "../../src/ops/loss.ts";
import { dropout, rand, randint, randn } from "../../src/ops/random.ts";
import { embedding, oneHot, take, takeAlongAxis, topK } from "../../src/ops/index.ts";
import { layerNorm, rmsNorm } from "../../src/ops/norm.ts";
import { feedForward } from "../../src/ops/feed_forward.ts";
import { linear, matmul } from "../../src/ops/matmul.ts";
import { logSoftmax, softmax } from "../../src/ops/softmax.ts";
import * as math from "../../src/ops/elementwise.ts";
import {
  all,
  any,
  argmax,
  argmin,
  cumsum,
  logsumexp,
  max,
  mean,
  min,
  norm,
  std,
  sum,
  variance,
} from "../../src/ops/reduce.ts";
import { rotary, sinusoid } from "../../src/ops/rotary.ts";
import { sample } from "../../src/ops/sampling.ts";
import { RandomState } from "../../src/tensor/random.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import type { Inputs, OperationCase } from "./case.ts";

/** The cases of one file of `src/ops/`. */
export interface Group {
  /** Its name. */
  readonly file: string;
  /** What the table calls it. */
  readonly title: string;
  /** Its operations. */
  readonly cases: readonly OperationCase[];
}

/** Functions of `src/ops/mod.ts` that compute no tensor, or are the gradient of another and stand with it. */
export const helpers: ReadonlySet<string> = new Set([
  "batchInvariant",
  "putAlongAxis",
  "rotaryFrequencies",
  "sinusoidTable",
]);

/** Every operation. */
export const groups: readonly Group[] = [
  {
    file: "elementwise.ts",
    title: "Arithmetic, with broadcasting",
    cases: [
      ...[add, sub, mul, div, pow, maximum, minimum].flatMap((op): OperationCase[] => [
        { op, call: `${op.name}(x, row)`, run: ({ x, row }) => op(x, row) },
        { op, call: `${op.name}(x, 2)`, run: ({ x }) => op(x, 2) },
        ...[sub, div, pow].includes(op)
          ? [{ op, call: `${op.name}(2, x)`, run: ({ x }: Inputs) => op(2, x) }]
          : [],
      ]),
      { op: neg, call: "neg(x)", run: ({ x }) => neg(x) },
    ],
  },
  {
    file: "elementwise.ts",
    title: "Functions of one tensor",
    cases: [
      ...ofOne(math.exp, math.log, math.sqrt, math.rsqrt, math.abs, math.sign, math.square),
      ...ofOne(math.reciprocal, math.sin, math.cos, math.floor, math.ceil, math.round),
      { op: math.clamp, call: "clamp(x, 1, 2)", run: ({ x }) => math.clamp(x, 1, 2) },
    ],
  },
  {
    file: "activations.ts",
    title: "Activations",
    cases: [
      ...ofOne(tanh, sigmoid, relu, reluSquared, leakyRelu, gelu),
      {
        op: gelu,
        call: 'gelu(x, { approximate: "tanh" })',
        run: ({ x }) => gelu(x, { approximate: "tanh" }),
      },
      ...ofOne(silu, softplus),
      { op: softcap, call: "softcap(x, 15)", run: ({ x }) => softcap(x, 15) },
    ],
  },
  {
    file: "activations.ts",
    title: "Gated activation",
    cases: [{ op: swiglu, call: "swiglu(gate, up)", run: ({ x, y }) => swiglu(x, y) }],
  },
  {
    file: "elementwise.ts",
    title: "Comparison and logic",
    cases: [
      ...[equal, notEqual, less, lessEqual, greater, greaterEqual, logicalAnd, logicalOr].map(
        (op) => ({ op, call: `${op.name}(x, row)`, run: ({ x, row }: Inputs) => op(x, row) }),
      ),
      { op: less, call: "less(x, 2)", run: ({ x }) => less(x, 2) },
      ...ofOne(logicalNot, isNaN),
    ],
  },
  {
    file: "elementwise.ts",
    title: "Choice by a condition",
    cases: [
      {
        op: where,
        call: "where(condition, x, row)",
        run: (t) => where(t.mask([1, 0, 1, 0, 0, 1, 1, 0], [2, 4]), t.x, t.row),
      },
      {
        op: maskedFill,
        call: "maskedFill(x, mask, 3)",
        run: (t) => maskedFill(t.x, t.mask([1, 0, 0, 1]), 3),
      },
    ],
  },
  {
    file: "elementwise.ts",
    title: "Triangles",
    cases: [
      { op: tril, call: "tril(x)", run: ({ x }) => tril(x) },
      { op: triu, call: "triu(x, 1)", run: ({ x }) => triu(x, 1) },
    ],
  },
  {
    file: "elementwise.ts",
    title: "Change of dtype",
    cases: (["f32", "f16", "i32", "u32"] as const).map((dtype) => ({
      op: cast,
      call: `cast(x, "${dtype}")`,
      // A tensor that was computed: of its own dtype `cast` gives back the argument.
      run: ({ x }: Inputs) => cast(reshape(x, [4, 2]), dtype),
    })),
  },
  {
    file: "reduce.ts",
    title: "Reductions",
    cases: [
      ...[sum, mean, variance, std, max, min, logsumexp, any, all].flatMap((op) => [
        { op, call: `${op.name}(x)`, run: ({ x }: Inputs) => op(x) },
        { op, call: `${op.name}(x, 0)`, run: ({ x }: Inputs) => op(x, 0) },
      ]),
      ...[argmax, argmin].flatMap((op) => [
        { op, call: `${op.name}(x)`, run: ({ x }: Inputs) => op(x) },
        { op, call: `${op.name}(x, 1)`, run: ({ x }: Inputs) => op(x, 1) },
      ]),
    ],
  },
  {
    file: "reduce.ts",
    title: "Norms",
    cases: [
      { op: norm, call: "norm(x)", run: ({ x }) => norm(x) },
      { op: norm, call: "norm(x, 1, { p: 3 })", run: ({ x }) => norm(x, 1, { p: 3 }) },
    ],
  },
  {
    file: "reduce.ts",
    title: "Cumulative sums",
    cases: [{ op: cumsum, call: "cumsum(x, 1)", run: ({ x }) => cumsum(x, 1) }],
  },
  {
    file: "shape.ts",
    title: "Reshaping",
    cases: [
      { op: reshape, call: "reshape(x, [4, -1])", run: ({ x }) => reshape(x, [4, -1]) },
      { op: squeeze, call: "squeeze(x)", run: (t) => squeeze(t.values([2, 1, 4])) },
      { op: unsqueeze, call: "unsqueeze(x, 1)", run: ({ x }) => unsqueeze(x, 1) },
      { op: flatten, call: "flatten(x)", run: ({ x }) => flatten(x) },
    ],
  },
  {
    file: "shape.ts",
    title: "Stretching and repeating",
    cases: [
      {
        op: broadcastTo,
        call: "broadcastTo(row, [3, 4])",
        run: ({ row }) => broadcastTo(row, [3, 4]),
      },
      { op: tile, call: "tile(x, [2, 3])", run: ({ x }) => tile(x, [2, 3]) },
    ],
  },
  {
    file: "shape.ts",
    title: "Axes and elements in another order",
    cases: [
      {
        op: permute,
        call: "permute(x, [2, 0, 1])",
        run: (t) => permute(t.values([2, 3, 4]), [2, 0, 1]),
      },
      { op: transpose, call: "transpose(x)", run: ({ x }) => transpose(x) },
      { op: flip, call: "flip(x, 1)", run: ({ x }) => flip(x, 1) },
    ],
  },
  {
    file: "shape.ts",
    title: "Parts",
    cases: [
      {
        op: slice,
        call: "slice(x, [[0, 1], [1, 4, 2]])",
        run: ({ x }) => slice(x, [[0, 1], [1, 4, 2]]),
      },
      { op: split, call: "split(x, [1, 3], 1)", run: ({ x }) => split(x, [1, 3], 1) },
    ],
  },
  {
    file: "shape.ts",
    title: "Joining and padding",
    cases: [
      { op: concat, call: "concat([x, y], 1)", run: ({ x, y }) => concat([x, y], 1) },
      { op: stack, call: "stack([x, y])", run: ({ x, y }) => stack([x, y]) },
      {
        op: pad,
        call: "pad(x, [[1, 0], [0, 2]], 3)",
        run: ({ x }) => pad(x, [[1, 0], [0, 2]], 3),
      },
    ],
  },
  {
    file: "index.ts",
    title: "Rows of a table",
    cases: [
      {
        op: embedding,
        call: "embedding(weight, ids)",
        run: (t) => embedding(t.values([5, 4]), t.ids([3, 0, 3, 4], [2, 2])),
      },
    ],
  },
  {
    file: "index.ts",
    title: "Elements by their positions",
    cases: [
      { op: take, call: "take(x, ids)", run: (t) => take(t.x, t.ids([1, 0, 1])) },
      {
        op: takeAlongAxis,
        call: "takeAlongAxis(x, ids)",
        run: (t) => takeAlongAxis(t.x, t.ids([3, 0, 0, 2], [2, 2])),
      },
      {
        op: takeAlongAxis,
        call: "takeAlongAxis(x, ids, 0)",
        run: (t) => takeAlongAxis(t.x, t.ids([1, 0, 0, 1], [1, 4]), 0),
      },
    ],
  },
  {
    file: "index.ts",
    title: "The largest",
    cases: [
      {
        op: topK,
        call: "topK(x, 2)",
        run: ({ x }) => {
          const { values, indices } = topK(x, 2);
          return [values, indices];
        },
      },
    ],
  },
  {
    file: "index.ts",
    title: "One-hot rows",
    cases: [
      {
        op: oneHot,
        call: "oneHot(ids, 3, { dtype })",
        run: (t) => oneHot(t.ids([2, 0]), 3, { dtype: t.dtype }),
      },
    ],
  },
  {
    file: "matmul.ts",
    title: "Matrix product",
    cases: [
      {
        op: matmul,
        call: "matmul(x, y)",
        run: (t) => matmul(t.values([3, 4]), t.values([4, 2], 1)),
      },
      {
        op: matmul,
        call: "matmul(x, y, { transposeA: true, transposeB: true })",
        run: (t) =>
          matmul(t.values([4, 3]), t.values([2, 4], 1), { transposeA: true, transposeB: true }),
      },
      {
        op: matmul,
        call: "matmul(batches, matrix)",
        run: (t) => matmul(t.values([2, 1, 3, 4]), t.values([3, 4, 2], 1)),
      },
    ],
  },
  {
    file: "einsum.ts",
    title: "Sums of products",
    cases: [
      {
        op: einsum,
        call: 'einsum("ij,kj->ki", x, y)',
        run: ({ x, y }) => einsum("ij,kj->ki", x, y),
      },
      { op: einsum, call: 'einsum("ij->j", x)', run: ({ x }) => einsum("ij->j", x) },
    ],
  },
  {
    file: "matmul.ts",
    title: "Affine map",
    cases: [
      {
        op: linear,
        call: "linear(x, weight)",
        run: (t) => linear(t.x, t.values([3, 4], 1)),
      },
      {
        op: linear,
        call: "linear(x, weight, bias, { residual })",
        run: (t) =>
          linear(t.x, t.values([3, 4], 1), t.values([3]), { residual: t.values([2, 3], 2) }),
      },
    ],
  },
  {
    file: "feed_forward.ts",
    title: "Feed-forward sub-layer",
    cases: [
      {
        op: feedForward,
        call: 'feedForward(x, up, down, { activation: "gelu" })',
        run: (t) => {
          const up = { weight: t.values([3, 4], 1), bias: t.values([3]) };
          const down = { weight: t.values([2, 3], 2) };
          return feedForward(t.x, up, down, { activation: "gelu" });
        },
      },
    ],
  },
  {
    file: "softmax.ts",
    title: "Softmax",
    cases: [
      { op: softmax, call: "softmax(x)", run: ({ x }) => softmax(x) },
      { op: softmax, call: "softmax(x, { axis: 0 })", run: ({ x }) => softmax(x, { axis: 0 }) },
    ],
  },
  {
    file: "softmax.ts",
    title: "Log-softmax",
    cases: [
      { op: logSoftmax, call: "logSoftmax(x)", run: ({ x }) => logSoftmax(x) },
      {
        op: logSoftmax,
        call: "logSoftmax(x, { axis: 0 })",
        run: ({ x }) => logSoftmax(x, { axis: 0 }),
      },
    ],
  },
  {
    file: "norm.ts",
    title: "Layer normalisation",
    cases: [
      { op: layerNorm, call: "layerNorm(x)", run: ({ x }) => layerNorm(x) },
      {
        op: layerNorm,
        call: "layerNorm(x, weight, bias)",
        run: (t) => layerNorm(t.x, t.row, t.values([4], 1)),
      },
    ],
  },
  {
    file: "norm.ts",
    title: "Root mean square normalisation",
    cases: [
      { op: rmsNorm, call: "rmsNorm(x)", run: ({ x }) => rmsNorm(x) },
      { op: rmsNorm, call: "rmsNorm(x, weight)", run: ({ x, row }) => rmsNorm(x, row) },
      {
        op: rmsNorm,
        call: "rmsNorm(x, weight, { offset: 1 })",
        run: ({ x, row }) => rmsNorm(x, row, { offset: 1 }),
      },
    ],
  },
  {
    file: "loss.ts",
    title: "Cross-entropy",
    cases: [
      {
        op: crossEntropy,
        call: "crossEntropy(logits, targets)",
        run: (t) => crossEntropy(t.x, t.ids([3, 0])),
      },
      {
        op: crossEntropy,
        call: "crossEntropy(logits, targets, { ignoreIndex: 0, labelSmoothing: 0.1 })",
        run: (t) => crossEntropy(t.x, t.ids([3, 0]), { ignoreIndex: 0, labelSmoothing: 0.1 }),
      },
      {
        op: crossEntropy,
        call: 'crossEntropy(logits, targets, { reduction: "none" })',
        run: (t) => crossEntropy(t.x, t.ids([3, 0]), { reduction: "none" }),
      },
    ],
  },
  {
    file: "loss.ts",
    title: "Losses of elements",
    cases: [
      { op: mseLoss, call: "mseLoss(x, target)", run: ({ x, y }) => mseLoss(x, y) },
      { op: l1Loss, call: "l1Loss(x, target)", run: ({ x, y }) => l1Loss(x, y) },
      { op: huberLoss, call: "huberLoss(x, target)", run: ({ x, y }) => huberLoss(x, y) },
      {
        op: klDiv,
        call: 'klDiv(x, target, { reduction: "batchmean" })',
        run: ({ x, y }) => klDiv(x, y, { reduction: "batchmean" }),
      },
      {
        op: binaryCrossEntropy,
        call: "binaryCrossEntropy(p, target)",
        run: ({ x, y }) => binaryCrossEntropy(sigmoid(x), sigmoid(y)),
      },
      {
        op: binaryCrossEntropyWithLogits,
        call: "binaryCrossEntropyWithLogits(logits, target, { posWeight: 2 })",
        run: ({ x, y }) => binaryCrossEntropyWithLogits(x, y, { posWeight: 2 }),
      },
    ],
  },
  {
    file: "loss.ts",
    title: "Output layer and cross-entropy in one",
    cases: [
      {
        op: linearCrossEntropy,
        call: "linearCrossEntropy(hidden, weight, targets)",
        run: (t) => linearCrossEntropy(t.x, t.values([3, 4], 1), t.ids([2, 0])),
      },
      {
        op: linearCrossEntropy,
        call: "linearCrossEntropy(hidden, weight, targets, { bias })",
        run: (t) =>
          linearCrossEntropy(t.x, t.values([3, 4], 1), t.ids([2, 0]), { bias: t.values([3], 2) }),
      },
    ],
  },
  {
    file: "attention.ts",
    title: "Attention",
    cases: [
      {
        op: attention,
        call: "attention(q, k, v)",
        run: (t) => attention(...queriesKeysValues(t, 2)),
      },
      {
        op: attention,
        call: "attention(q, k, v, { causal: true })",
        run: (t) => attention(...queriesKeysValues(t, 2), { causal: true }),
      },
      {
        op: attention,
        call: "attention(q, k, v, { causal: true, window: 2 })",
        run: (t) => attention(...queriesKeysValues(t, 2), { causal: true, window: 2 }),
      },
      {
        op: attention,
        call: "attention(q, k, v, { causal: true, positions })",
        run: (t) => {
          const positions = t.ids([0, 1, 0], [1, 3]);
          return attention(...queriesKeysValues(t, 2), { causal: true, positions });
        },
      },
      {
        op: attention,
        call: "attention(q, groupedK, groupedV, { keyValid })",
        run: (t) => attention(...queriesKeysValues(t, 1), { keyValid: t.mask([1, 1, 0], [1, 3]) }),
      },
      {
        op: attention,
        call: "attention(q, k, v, { dropout: { p: 0.5 } })",
        run: (t) => {
          const dropout = { p: 0.5, random: new RandomState(1) };
          return attention(...queriesKeysValues(t, 2), { dropout });
        },
      },
      {
        op: selfAttention,
        call: "selfAttention(qkv, { heads: 2, causal: true })",
        run: (t) => selfAttention(t.values([1, 3, 12]), { heads: 2, causal: true }),
      },
    ],
  },
  {
    file: "attention.ts",
    title: "The weights of attention",
    cases: [
      {
        op: attentionWeights,
        call: "attentionWeights(q, k, { causal: true })",
        run: (t) => {
          const [q, k] = queriesKeys(t, 1);
          return attentionWeights(q, k, { causal: true });
        },
      },
    ],
  },
  {
    file: "attention.ts",
    title: "Sparse attention",
    cases: [
      {
        op: sparseAttention,
        call: "sparseAttention(q, k, v, { blockSize: 2 })",
        run: (t) => sparseAttention(...queriesKeysValues(t, 2), { blockSize: 2 }),
      },
      {
        op: sparseAttentionWeights,
        call: "sparseAttentionWeights(q, k, { blockSize: 2 })",
        run: (t) => sparseAttentionWeights(...queriesKeys(t, 2), { blockSize: 2 }),
      },
    ],
  },
  {
    file: "rotary.ts",
    title: "Rotary position embedding",
    cases: [
      {
        op: rotary,
        call: "rotary(x)",
        run: (t) => rotary(t.values([1, 3, 2, 4])),
      },
      {
        op: rotary,
        call: 'rotary(x, { layout: "half-split" })',
        run: (t) => rotary(t.values([1, 3, 2, 4]), { layout: "half-split" }),
      },
      {
        op: rotary,
        call: "rotary(x, { turned: 2 })",
        run: (t) => rotary(t.values([1, 3, 2, 4]), { turned: 2 }),
      },
    ],
  },
  {
    file: "random.ts",
    title: "Dropout",
    cases: [
      {
        op: dropout,
        call: "dropout(x, 0.5)",
        run: ({ x }) => dropout(x, 0.5, { random: new RandomState(1) }),
      },
    ],
  },
  {
    file: "random.ts",
    title: "Random numbers",
    cases: [
      ...[rand, randn].map((op): OperationCase => ({
        op,
        call: `${op.name}([2, 4], { dtype })`,
        run: ({ device, dtype }) => op([2, 4], { device, dtype, random: new RandomState(1) }),
      })),
      {
        op: randint,
        call: "randint(0, 9, [2, 4], { dtype })",
        run: ({ device, dtype }) =>
          randint(0, 9, [2, 4], { device, dtype, random: new RandomState(1) }),
      },
    ],
  },
  {
    file: "sampling.ts",
    title: "Sampling",
    cases: [
      {
        op: sample,
        call: "sample(logits)",
        run: ({ x }) => sample(x, { random: new RandomState(1) }),
      },
      {
        op: sample,
        call: "sample(logits, { topK: 2 })",
        run: ({ x }) => sample(x, { topK: 2, random: new RandomState(1) }),
      },
      {
        op: sample,
        call: "sample(logits, { repetitionPenalty: 1.2, seen, topP: 0.9, minP: 0.05 })",
        run: (t) =>
          sample(t.x, {
            repetitionPenalty: 1.2,
            seen: t.ids([1, 0, 0, 1, 0, 0, 1, 0], [2, 4]),
            topP: 0.9,
            minP: 0.05,
            random: new RandomState(1),
          }),
      },
    ],
  },
  {
    file: "rotary.ts",
    title: "Sinusoids of positions",
    cases: [
      {
        op: sinusoid,
        call: "sinusoid(3, 4, { dtype })",
        run: ({ device, dtype }) => sinusoid(3, 4, { device, dtype }),
      },
    ],
  },
];

function ofOne(...ops: readonly ((x: Tensor) => Tensor)[]): OperationCase[] {
  return ops.map((op) => ({ op, call: `${op.name}(x)`, run: ({ x }) => op(x) }));
}

/** Two heads of queries and `kvHeads` of keys, three positions of width 4. */
function queriesKeys(t: Inputs, kvHeads: number): [Tensor, Tensor] {
  return [t.values([1, 2, 3, 4]), t.values([1, kvHeads, 3, 4], 1)];
}

function queriesKeysValues(t: Inputs, kvHeads: number): [Tensor, Tensor, Tensor] {
  return [...queriesKeys(t, kvHeads), t.values([1, kvHeads, 3, 4], 2)];
}
