/**
 * The gated activation of LLaMA's feed-forward layers: silu(gate) * up (Shazeer 2020, arXiv:2002.05202).
 *
 * @module
 */
import { type Kernel, kernel, type Params } from "../../src/device/kernel.ts";
import { flatKernel, SIMD_CHUNK, simdExport } from "./elementwise.ts";
import backwardWgsl from "./swiglu_backward.wgsl" with { type: "text" };

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** y (count) = silu(a) * b; a is the gate. */
export const swigluKernel: Kernel<Params> = flatKernel({
  name: "swiglu",
  inputs: 2,
  wgsl: "a / (1.0 + exp(-a)) * b",
  cpu: (gate, up) => gate * sigmoid(gate) * up,
  simd: simdExport("swiglu"),
});

/** Computes the gradients (count) of both inputs in one pass. */
export const swigluBackward: Kernel<{ count: number }> = kernel<{ count: number }>({
  name: "swiglu_backward",
  bindings: {
    dOut: { read: "count" },
    gate: { read: "count" },
    up: { read: "count" },
    dGate: { write: "count" },
    dUp: { write: "count" },
  },
  params: { count: "u32" },
  gpu: ({ count }) => ({
    wgsl: backwardWgsl,
    workgroups: Math.ceil(count / 64),
  }),
  cpu({ dOut, gate, up, dGate, dUp }, { count }) {
    for (let i = 0; i < count; i++) {
      const s = sigmoid(gate[i]);
      dGate[i] = dOut[i] * up[i] * s * (1 + gate[i] * (1 - s));
      dUp[i] = dOut[i] * gate[i] * s;
    }
  },
  simd({ at, params: { count }, run }) {
    run("swiglu_backward", count, SIMD_CHUNK, at.dOut!, at.gate!, at.up!, at.dGate!, at.dUp!);
    return true;
  },
  split: "count",
});
