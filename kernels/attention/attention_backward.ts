/**
 * All gradients of attention in one kernel, for the CPU device.
 *
 * @module
 */
import type { Binding, Device } from "../../src/device/device.ts";
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { ATTENTION_PARAMS, type AttentionParams } from "./attention.ts";
import { attentionBackwardKv } from "./attention_backward_kv.ts";
import { attentionBackwardQ } from "./attention_backward_q.ts";
import { attentionBackwardSimd } from "./attention_simd.ts";

/** The bindings of {@linkcode launchAttentionBackward}; shapes are those of `attentionForward`. */
export interface AttentionBackwardBindings {
  /** The queries. */
  readonly q: Binding;
  /** The keys. */
  readonly k: Binding;
  /** The values. */
  readonly v: Binding;
  /** The output of `attentionForward`. */
  readonly o: Binding;
  /** The gradient of `o`. */
  readonly dO: Binding;
  /** The mask of `attentionForward`. */
  readonly mask?: Binding | undefined;
  /** The `lse` that `attentionForward` wrote. */
  readonly lse: Binding;
  /**
   * Receives the gradient of `q`, and those of `k` and `v` if `dK` and `dV` are omitted (one tensor holds all three).
   */
  readonly dQ: Binding;
  /** Receives the gradient of `k`. */
  readonly dK?: Binding;
  /** Receives the gradient of `v`. */
  readonly dV?: Binding;
}

/** A thread processes one key head and all queries that use it, so the weights are computed only once. */
const fused: Kernel<AttentionParams> = kernel<AttentionParams>({
  name: "attention_backward",
  bindings: {
    q: { read: "*" },
    k: { read: "*" },
    v: { read: "*" },
    o: { read: "*" },
    dO: { read: "*" },
    mask: { read: "batch maskBatch", dtype: "i32", optional: true },
    lse: { update: "2 batch heads queries", dtype: "f32" },
    dQ: { write: "*" },
    dK: { write: "*", optional: true },
    dV: { write: "*", optional: true },
  },
  params: ATTENTION_PARAMS,
  cpu(views, params) {
    const { dQ, dK = dQ, dV = dQ } = views;
    attentionBackwardQ.cpu(views, params);
    attentionBackwardKv.cpu({ ...views, dK, dV }, params);
  },
  simd(job) {
    const { dQ, dK, dV } = job.at;
    attentionBackwardSimd(job, job.params, { ...job.at, dK: dK || dQ!, dV: dV || dQ! });
    return true;
  },
});

/** Computes dQ, dK and dV: one launch on the CPU, two on a GPU. */
export function launchAttentionBackward(
  device: Device,
  bindings: AttentionBackwardBindings,
  params: AttentionParams,
): void {
  const { o, dQ, dK = dQ, dV, ...common } = bindings;
  if (device.kind === "cpu") {
    device.launch(fused, { ...bindings }, params);
    return;
  }
  device.launch(attentionBackwardQ, { ...common, o, dQ }, params);
  device.launch(attentionBackwardKv, { ...common, dK, dV }, params);
}
