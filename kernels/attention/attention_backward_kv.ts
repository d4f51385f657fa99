/**
 * Attention's gradients for the keys and values.
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
import bindings from "./attention_backward_kv.wgsl" with { type: "text" };
import blocked from "./attention_backward_kv_blocked.wgsl" with { type: "text" };
import matrix from "./attention_backward_kv_matrix.wgsl" with { type: "text" };
import subgroup from "./attention_backward_kv_subgroup.wgsl" with { type: "text" };
import tiled from "./attention_backward_kv_tiled.wgsl" with { type: "text" };

const programs = attentionPrograms(bindings, { matrix, blocked, tiled, subgroup });

/**
 * Computes dK and dV from dO and from the lse that `attentionForward` and `attentionBackwardQ` wrote. Shapes are
 * those of `attentionForward`; dK has the strides of k, dV those of v, dO those of o. Without dV, dK receives both.
 * The gradients of query heads that share a key head are summed.
 */
export const attentionBackwardKv: Kernel<AttentionParams> = kernel<AttentionParams>({
  name: "attention_backward_kv",
  bindings: {
    q: { read: "*" },
    k: { read: "*" },
    v: { read: "*" },
    dO: { read: "*" },
    mask: { read: "batch maskBatch", dtype: "i32", optional: true },
    lse: { read: "2 batch heads queries", dtype: "f32" },
    dK: { update: "*" },
    dV: { update: "*", optional: true },
  },
  params: ATTENTION_PARAMS,
  gpu(params, target) {
    const repeats = params.heads / params.kvHeads;
    const walk = { tiles: [2, 2, 2], others: params.queries, repeats } as const;
    const { variant, vec4, constants, rows, iterations } = attentionLaunch(params, target, walk);
    return {
      wgsl: programs[variant],
      vec4,
      constants,
      flops: attentionFlops(params, 4),
      workgroups: [Math.ceil(params.keys / rows), params.kvHeads, params.batch],
      iterations,
    };
  },
  cpu({ q, k, v, dO, mask, lse, dK, dV = dK }, p) {
    const deltas = p.batch * p.heads * p.queries;
    const share = p.heads / p.kvHeads;
    const kSums = new Float64Array(p.keys * p.d), vSums = new Float64Array(p.keys * p.d);
    let sharing = 0;
    for (const head of headsOf(p)) {
      for (let i = 0; i < p.queries; i++) {
        const qAt = head.q + i * p.qTime, oAt = head.o + i * p.oTime;
        const row = head.rows + i;
        const factors = dropoutFactors(p, row);
        for (const j of visibleKeys(p, mask, head.b, i)) {
          const kAt = head.k + j * p.kTime, vAt = head.v + j * p.vTime;
          const weight = Math.exp(p.scale * dot(q, qAt, k, kAt, p.d) - lse[row]);
          const dWeight = factors[j]! * dot(dO, oAt, v, vAt, p.d);
          const slope = weight * (dWeight - lse[deltas + row]);
          for (let c = 0; c < p.d; c++) {
            kSums[j * p.d + c]! += p.scale * slope * q[qAt + c];
            vSums[j * p.d + c]! += factors[j]! * weight * dO[oAt + c];
          }
        }
      }
      if (++sharing % share !== 0) continue;
      for (let j = 0; j < p.keys; j++) {
        for (let c = 0; c < p.d; c++) {
          dK[head.k + j * p.kTime + c] = kSums[j * p.d + c];
          dV[head.v + j * p.vTime + c] = vSums[j * p.d + c];
        }
      }
      kSums.fill(0);
      vSums.fill(0);
    }
  },
});
