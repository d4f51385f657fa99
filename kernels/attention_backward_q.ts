/**
 * Attention's gradient for the queries.
 *
 * @module
 */
import { type Kernel, kernel } from "../src/device/kernel.ts";
import {
  ATTENTION_PARAMS,
  attentionLaunch,
  type AttentionParams,
  attentionPrograms,
  dot,
  headsOf,
  visibleKeys,
} from "./attention.ts";
import bindings from "./attention_backward_q.wgsl" with { type: "text" };
import subgroup from "./attention_backward_q_subgroup.wgsl" with { type: "text" };
import tiled from "./attention_backward_q_tiled.wgsl" with { type: "text" };

const programs = attentionPrograms(bindings, tiled, subgroup);

/**
 * grad_q from grad_o, and into the second half of stats the sum of o grad_o over every row, which
 * `attentionBackwardKv` needs: launch this one first. Shapes are those of `attentionForward`; grad_q has the strides of q,
 * grad_o those of o.
 */
export const attentionBackwardQ: Kernel<AttentionParams> = kernel<AttentionParams>({
  name: "attention_backward_q",
  bindings: {
    q: "read",
    k: "read",
    v: "read",
    o: "read",
    grad_o: "read",
    key_valid: "read",
    stats: "update",
    grad_q: "write",
  },
  optional: ["key_valid"],
  params: ATTENTION_PARAMS,
  gpu(params, target) {
    const { variant, constants, rows, iterations } = attentionLaunch(params, target, params.keys);
    return {
      wgsl: programs[variant],
      constants,
      workgroups: [Math.ceil(params.queries / rows), params.batch * params.heads],
      iterations,
    };
  },
  cpu({ q, k, v, o, grad_o, key_valid, stats, grad_q }, p) {
    const deltas = p.batch * p.heads * p.queries;
    for (const head of headsOf(p)) {
      for (let i = 0; i < p.queries; i++) {
        const qAt = head.q + i * p.q_time, oAt = head.o + i * p.o_time;
        const row = head.rows + i;
        const delta = dot(o, oAt, grad_o, oAt, p.d);
        stats[deltas + row] = delta;
        const sums = new Float64Array(p.d);
        for (const j of visibleKeys(p, key_valid, head.b, i)) {
          const kAt = head.k + j * p.k_time;
          const weight = Math.exp(p.scale * dot(q, qAt, k, kAt, p.d) - stats[row]);
          const slope = weight * (dot(grad_o, oAt, v, head.v + j * p.v_time, p.d) - delta);
          for (let c = 0; c < p.d; c++) sums[c] += slope * k[kAt + c];
        }
        for (let c = 0; c < p.d; c++) grad_q[qAt + c] = p.scale * sums[c];
      }
    }
  },
});
