/**
 * The gated activation of LLaMA's feed-forward layers: silu(gate) * up (Shazeer 2020, arXiv:2002.05202).
 *
 * @module
 */
import { type Kernel, kernel, type Params } from "../src/device/kernel.ts";
import { flatKernel, SIMD_CHUNK, simdExport } from "./elementwise.ts";
import backwardWgsl from "./swiglu_backward.wgsl" with { type: "text" };

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** y (count) = silu(a) * b, where a is the gate. */
export const swigluKernel: Kernel<Params> = flatKernel({
  name: "swiglu",
  inputs: 2,
  wgsl: "a / (1.0 + exp(-a)) * b",
  cpu: (gate, up) => gate * sigmoid(gate) * up,
  simd: simdExport("swiglu"),
});

/** The gradients (count) of both inputs, in one pass. */
export const swigluBackward: Kernel<{ count: number }> = kernel<{ count: number }>({
  name: "swiglu_backward",
  bindings: { dy: "read", gate: "read", up: "read", dGate: "write", dUp: "write" },
  params: { count: "u32" },
  gpu: ({ count }, { dtypes }) => ({
    wgsl: backwardWgsl,
    constants: { T: dtypes.dy },
    workgroups: Math.ceil(count / 64),
  }),
  cpu({ dy, gate, up, dGate, dUp }, { count }) {
    for (let i = 0; i < count; i++) {
      const s = sigmoid(gate[i]);
      dGate[i] = dy[i] * up[i] * s * (1 + gate[i] * (1 - s));
      dUp[i] = dy[i] * gate[i] * s;
    }
  },
  simd({ at, params: { count }, run }) {
    run("swiglu_backward", count, SIMD_CHUNK, at.dy, at.gate, at.up, at.dGate, at.dUp);
    return true;
  },
  split: {
    along: "count",
    elements: { dy: () => 1, gate: () => 1, up: () => 1, dGate: () => 1, dUp: () => 1 },
  },
});
