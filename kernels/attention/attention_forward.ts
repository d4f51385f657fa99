/**
 * The forward pass of attention, without ever storing the T x T matrix.
 *
 * @module
 */
import type { TypedArray } from "../../src/device/dtype.ts";
import { type BindingSpec, type Kernel, kernel } from "../../src/device/kernel.ts";
import { fromInt8 } from "../../src/device/quantised.ts";
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

/** Up to this many queries, a GPU uses one workgroup for each. */
const FEW = 4;

/** The kernel with keys and values of f32 or f16, or of int8. */
function forward(isInt8: boolean): Kernel<AttentionParams> {
  // Words of int8 are not read in fours where `*` is.
  const keys: BindingSpec<AttentionParams> = isInt8
    ? { read: "* 1", dtype: "u32" }
    : { read: "*", half: true };
  return kernel<AttentionParams>({
    name: isInt8 ? "attention_forward_int8" : "attention_forward",
    bindings: {
      q: { read: "*" },
      k: keys,
      v: keys,
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
      const constants = each
        ? { D: params.d, D4: d4, DOCUMENTS: params.documents === 1 }
        : launch.constants;
      return {
        wgsl: each ? decoding : programs[variant],
        vec4,
        constants: { ...constants, FLOATS_k: !isInt8, FLOATS_v: !isInt8 },
        flops: attentionFlops(params, 2),
        workgroups: [Math.ceil(params.queries / rows), params.heads, params.batch],
        iterations: each ? few : launch.iterations,
      };
    },
    cpu({ q, k, v, mask, positions, o, lse }, p) {
      const headAt = (x: TypedArray, at: number): TypedArray =>
        x instanceof Uint32Array ? fromInt8(x, at, p.d) : x.subarray(at, at + p.d);
      for (const head of headsOf(p)) {
        for (let i = 0; i < p.queries; i++) {
          const keys = visibleKeys(p, mask, head.b, i, positions?.[head.b]);
          const qAt = head.q + i * p.qTime, oAt = head.o + i * p.oTime;
          const scores = keys.map((j) =>
            p.scale * dot(q, qAt, headAt(k, head.k + j * p.kTime), 0, p.d)
          );
          const highest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
          const weights = scores.map((score) => Math.exp(score - highest));
          const sum = weights.reduce((a, b) => a + b, 0);
          const factors = dropoutFactors(p, head.rows + i);
          const mixed = new Float64Array(p.d);
          keys.forEach((j, n) => {
            const value = headAt(v, head.v + j * p.vTime), weight = factors[j]! * weights[n]!;
            for (let c = 0; c < p.d; c++) mixed[c]! += weight * value[c]!;
          });
          for (let c = 0; c < p.d; c++) o[oAt + c] = keys.length > 0 ? mixed[c]! / sum : 0;
          lse[head.rows + i] = keys.length > 0 ? highest + Math.log(sum) : Infinity;
        }
      }
    },
    simd(job) {
      attentionSimd(job, job.params, job.at, job.bindings.k!.dtype);
      return true;
    },
  });
}

/**
 * o = dropout(softmax(scale q k^T + mask)) v (FlashAttention-2, Dao 2023).
 *
 * q and o are (batch, heads, queries, d), k and v (batch, kvHeads, keys, d), all strided; mask (batch, keys) is 0
 * where a key may not be seen, or with `documents` the position of each token in its document. lse is (2, batch, heads, queries): its first half receives the log of each row's sum
 * of exponentials for the backward pass, which uses the second half. For a query that sees no key, o is 0 and lse
 * infinite. k and v may be f16 if q and o are f32. If the sequences are
 * at different positions, positions (batch) holds the `position` of each.
 */
export const attentionForward: Kernel<AttentionParams> = forward(false);

/** The same with k and v in int8 (`int8Words`): their strides and starts are in words, and those of heads whole. */
export const attentionForwardInt8: Kernel<AttentionParams> = forward(true);
