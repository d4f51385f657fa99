/**
 * Attention's gradient for the queries.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
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
import bindings from "./attention_backward_q.wgsl" with { type: "text" };
import blocked from "./attention_backward_q_blocked.wgsl" with { type: "text" };
import matrix from "./attention_backward_q_matrix.wgsl" with { type: "text" };
import subgroup from "./attention_backward_q_subgroup.wgsl" with { type: "text" };
import tiled from "./attention_backward_q_tiled.wgsl" with { type: "text" };

const programs = attentionPrograms(bindings, { matrix, blocked, tiled, subgroup });

/**
 * Computes dQ from dO, and writes the sum of o dO over every row into the second half of lse. `attentionBackwardKv`
 * needs these sums, so launch this kernel first. Shapes are those of `attentionForward`; dQ has the strides of q, dO
 * those of o.
 */
export const attentionBackwardQ: Kernel<AttentionParams> = kernel<AttentionParams>({
  name: "attention_backward_q",
  bindings: {
    q: { read: "*" },
    k: { read: "*" },
    v: { read: "*" },
    o: { read: "*" },
    dO: { read: "*" },
    mask: { read: "batch maskBatch", dtype: "i32", optional: true },
    lse: { update: "2 batch heads queries", dtype: "f32" },
    dQ: { write: "*" },
  },
  params: ATTENTION_PARAMS,
  gpu(params, target) {
    const walk = { tiles: [2, 2, 1], others: params.keys } as const;
    const { variant, vec4, constants, rows, iterations } = attentionLaunch(params, target, walk);
    return {
      wgsl: programs[variant],
      vec4,
      constants,
      flops: attentionFlops(params, 3),
      workgroups: [Math.ceil(params.queries / rows), params.heads, params.batch],
      iterations,
    };
  },
  cpu({ q, k, v, o, dO, mask, lse, dQ }, p) {
    const deltas = p.batch * p.heads * p.queries;
    for (const head of headsOf(p)) {
      for (let i = 0; i < p.queries; i++) {
        const qAt = head.q + i * p.qTime, oAt = head.o + i * p.oTime;
        const row = head.rows + i;
        const delta = dot(o, oAt, dO, oAt, p.d);
        lse[deltas + row] = delta;
        const sums = new Float64Array(p.d);
        const factors = dropoutFactors(p, row);
        for (const j of visibleKeys(p, mask, head.b, i)) {
          const kAt = head.k + j * p.kTime;
          const weight = Math.exp(p.scale * dot(q, qAt, k, kAt, p.d) - lse[row]);
          const dWeight = factors[j]! * dot(dO, oAt, v, head.v + j * p.vTime, p.d);
          const slope = weight * (dWeight - delta);
          for (let c = 0; c < p.d; c++) sums[c]! += slope * k[kAt + c];
        }
        for (let c = 0; c < p.d; c++) dQ[qAt + c] = p.scale * sums[c]!;
      }
    }
  },
});
