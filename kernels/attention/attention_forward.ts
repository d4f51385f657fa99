/**
 * The forward pass of attention, without ever storing the T x T matrix.
 *
 * @module
 */
import { type Kernel, kernel, type SimdJob } from "../../src/device/kernel.ts";
import {
  ATTENTION_PARAMS,
  attentionFlops,
  attentionLaunch,
  type AttentionParams,
  attentionPrograms,
  dot,
  dropoutFactors,
  headsOf,
  visibleKeys,
} from "./attention.ts";
import { attentionSimd } from "./attention_simd.ts";
import bindings from "./attention_forward.wgsl" with { type: "text" };
import blocked from "./attention_forward_blocked.wgsl" with { type: "text" };
import few from "./attention_forward_few.wgsl" with { type: "text" };
import matrix from "./attention_forward_matrix.wgsl" with { type: "text" };
import subgroup from "./attention_forward_subgroup.wgsl" with { type: "text" };
import tiled from "./attention_forward_tiled.wgsl" with { type: "text" };

const programs = attentionPrograms(bindings, { matrix, blocked, tiled, subgroup });
const decoding = attentionPrograms(bindings, {
  matrix: "",
  blocked: "",
  tiled: few,
  subgroup,
}).tiled;

/** The address of a copy in f32 of keys or values of f16. */
function widened(job: SimdJob<AttentionParams>, name: "k" | "v"): number {
  const { size } = job.bindings[name]!;
  const copy = job.scratch(4 * size);
  job.run("f16_to_f32", size, 65536, job.at[name]!, copy);
  return copy;
}

/** Up to this many queries, a GPU uses one workgroup for each. */
const FEW = 4;

/**
 * o = dropout(softmax(scale q k^T + mask)) v (FlashAttention-2, Dao 2023).
 *
 * q and o are (batch, heads, queries, d), k and v (batch, kvHeads, keys, d), all strided; mask (batch, keys) is 0
 * where a key may not be seen, or with `documents` the position of each token in its document. lse is (2, batch, heads, queries): its first half receives the log of each row's sum
 * of exponentials for the backward pass, which uses the second half. For a query that sees no key, o is 0 and lse
 * infinite. k and v may be f16 if q and o are f32. If the sequences are at different positions, positions (batch) holds the `position` of each.
 */
export const attentionForward: Kernel<AttentionParams> = kernel<AttentionParams>({
  name: "attention_forward",
  bindings: {
    q: { read: "*" },
    k: { read: "*", half: true },
    v: { read: "*", half: true },
    mask: { read: "batch maskBatch", dtype: "i32", optional: true },
    positions: { read: "batch", dtype: "i32", optional: true },
    o: { write: "*" },
    lse: { write: "2 batch heads queries", dtype: "f32" },
  },
  params: ATTENTION_PARAMS,
  gpu(params, target) {
    const launch = attentionLaunch(params, target, { tiles: [1, 2, 1], others: params.keys });
    const { variant, vec4 } = launch;
    const each = variant !== "subgroup" && params.queries <= FEW && params.dropout === 0;
    const rows = each ? 1 : launch.rows;
    const d4 = Math.ceil(params.d / 4);
    // 64 keys at a time: first their scores over d, then each group of invocations adds its share of their values.
    const parts = Math.floor(64 / d4);
    const few = Math.ceil(params.keys / 64) * (1 + d4 + Math.ceil(64 / parts)) + parts + 4;
    return {
      wgsl: each ? decoding : programs[variant],
      vec4,
      constants: each
        ? { D: params.d, D4: d4, DOCUMENTS: params.documents === 1 }
        : launch.constants,
      flops: attentionFlops(params, 2),
      workgroups: [Math.ceil(params.queries / rows), params.batch * params.heads],
      iterations: each ? few : launch.iterations,
    };
  },
  cpu({ q, k, v, mask, positions, o, lse }, p) {
    for (const head of headsOf(p)) {
      for (let i = 0; i < p.queries; i++) {
        const keys = visibleKeys(p, mask, head.b, i, positions?.[head.b]);
        const qAt = head.q + i * p.qTime, oAt = head.o + i * p.oTime;
        const scores = keys.map((j) => p.scale * dot(q, qAt, k, head.k + j * p.kTime, p.d));
        const highest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
        const weights = scores.map((score) => Math.exp(score - highest));
        const sum = weights.reduce((a, b) => a + b, 0);
        const factors = dropoutFactors(p, head.rows + i);
        for (let c = 0; c < p.d; c++) {
          let mixed = 0;
          keys.forEach((j, n) => mixed += factors[j]! * weights[n]! * v[head.v + j * p.vTime + c]);
          o[oAt + c] = keys.length > 0 ? mixed / sum : 0;
        }
        lse[head.rows + i] = keys.length > 0 ? highest + Math.log(sum) : Infinity;
      }
    }
  },
  simd(job) {
    const isHalf = job.bindings.k!.dtype === "f16";
    attentionSimd(job, job.params, job.at, isHalf ? (name) => widened(job, name) : undefined);
    return true;
  },
});
