/**
 * Attention's gradients for the keys and values.
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
import bindings from "./attention_backward_kv.wgsl" with { type: "text" };
import subgroup from "./attention_backward_kv_subgroup.wgsl" with { type: "text" };
import tiled from "./attention_backward_kv_tiled.wgsl" with { type: "text" };

const programs = attentionPrograms(bindings, tiled, subgroup);

/**
 * grad_k and grad_v from grad_o and the stats that `attentionForward` and `attentionBackwardQ` left. Shapes are those of
 * `attentionForward`; grad_k has the strides of k, grad_v those of v, grad_o those of o. Heads that share a key add up.
 */
export const attentionBackwardKv: Kernel<AttentionParams> = kernel<AttentionParams>({
  name: "attention_backward_kv",
  bindings: {
    q: "read",
    k: "read",
    v: "read",
    grad_o: "read",
    key_valid: "read",
    stats: "read",
    grad_k: "write",
    grad_v: "write",
  },
  optional: ["key_valid"],
  params: ATTENTION_PARAMS,
  gpu(params, target) {
    const share = params.heads / params.kv_heads;
    const launch = attentionLaunch(params, target, params.queries, share);
    const { variant, constants, rows, iterations } = launch;
    return {
      wgsl: programs[variant],
      constants,
      workgroups: [Math.ceil(params.keys / rows), params.batch * params.kv_heads],
      iterations,
    };
  },
  cpu({ q, k, v, grad_o, key_valid, stats, grad_k, grad_v }, p) {
    const deltas = p.batch * p.heads * p.queries;
    const share = p.heads / p.kv_heads;
    const kSums = new Float64Array(p.keys * p.d), vSums = new Float64Array(p.keys * p.d);
    let sharing = 0;
    for (const head of headsOf(p)) {
      for (let i = 0; i < p.queries; i++) {
        const qAt = head.q + i * p.q_time, oAt = head.o + i * p.o_time;
        const row = head.rows + i;
        for (const j of visibleKeys(p, key_valid, head.b, i)) {
          const kAt = head.k + j * p.k_time, vAt = head.v + j * p.v_time;
          const weight = Math.exp(p.scale * dot(q, qAt, k, kAt, p.d) - stats[row]);
          const slope = weight * (dot(grad_o, oAt, v, vAt, p.d) - stats[deltas + row]);
          for (let c = 0; c < p.d; c++) {
            kSums[j * p.d + c] += p.scale * slope * q[qAt + c];
            vSums[j * p.d + c] += weight * grad_o[oAt + c];
          }
        }
      }
      if (++sharing % share !== 0) continue;
      for (let j = 0; j < p.keys; j++) {
        for (let c = 0; c < p.d; c++) {
          grad_k[head.k + j * p.k_time + c] = kSums[j * p.d + c];
          grad_v[head.v + j * p.v_time + c] = vSums[j * p.d + c];
        }
      }
      kSums.fill(0);
      vSums.fill(0);
    }
  },
});
