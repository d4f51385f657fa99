/**
 * All of attention's gradients at once, as the CPU device computes them.
 *
 * @module
 */
import type { Binding, Device } from "../src/device/device.ts";
import { attentionBackward as cpuBackward } from "../src/device/cpu/attention.ts";
import { type Kernel, kernel } from "../src/device/kernel.ts";
import { ATTENTION_PARAMS, type AttentionParams, cpuAttention } from "./attention.ts";
import { attentionBackwardKv } from "./attention_backward_kv.ts";
import { attentionBackwardQ } from "./attention_backward_q.ts";

/** What {@linkcode launchAttentionBackward} reads and writes; shapes are those of `attentionForward`. */
export interface AttentionBackwardBindings {
  /** The queries. */
  readonly q: Binding;
  /** The keys. */
  readonly k: Binding;
  /** The values. */
  readonly v: Binding;
  /** What `attentionForward` gave. */
  readonly o: Binding;
  /** The gradient of `o`. */
  readonly grad_o: Binding;
  /** 0 where a key may not be seen. */
  readonly key_valid?: Binding;
  /** What `attentionForward` left there. */
  readonly stats: Binding;
  /** Gets the gradient of `q`. */
  readonly grad_q: Binding;
  /** Gets the gradient of `k`. */
  readonly grad_k: Binding;
  /** Gets the gradient of `v`. */
  readonly grad_v: Binding;
}

/** One thread of a CPU owns a key head and all queries that use it, so that the weights are computed only once. */
const fused: Kernel<AttentionParams> = kernel<AttentionParams>({
  name: "attention_backward",
  bindings: {
    q: "read",
    k: "read",
    v: "read",
    o: "read",
    grad_o: "read",
    key_valid: "read",
    stats: "update",
    grad_q: "write",
    grad_k: "write",
    grad_v: "write",
  },
  optional: ["key_valid"],
  params: ATTENTION_PARAMS,
  gpu() {
    throw new Error("attention_backward is for the CPU; a GPU runs its parts one after the other");
  },
  cpu(views, params) {
    attentionBackwardQ.cpu(views, params);
    attentionBackwardKv.cpu(views, params);
  },
  simd({ at, params, context }) {
    const rows = params.batch * params.heads * params.queries;
    cpuBackward(context.pool, {
      ...cpuAttention(params, at),
      dO: at.grad_o,
      dq: at.grad_q,
      dk: at.grad_k + 4 * params.k_start,
      dv: at.grad_v + 4 * params.v_start,
      delta: at.stats + 4 * rows,
    });
    return true;
  },
});

/** Launches what computes grad_q, grad_k and grad_v on the device: one kernel on a CPU, two on a GPU. */
export function launchAttentionBackward(
  device: Device,
  bindings: AttentionBackwardBindings,
  params: AttentionParams,
): void {
  const { o, grad_q, grad_k, grad_v, ...common } = bindings;
  if (device.kind === "cpu") {
    device.launch(fused, { ...bindings }, params);
    return;
  }
  device.launch(attentionBackwardQ, { ...common, o, grad_q }, params);
  device.launch(attentionBackwardKv, { ...common, grad_k, grad_v }, params);
}
