/**
 * Phi 3 and Phi 4 (Abdin et al. 2024, "Phi-3 Technical Report"): LLaMA with one matrix for queries, keys and values,
 * one for gate and up, and rotary positions on only the first part of each head, if so configured.
 *
 * @module
 */
import { Linear, Module, type ParameterOptions, splitHeads } from "../nn/mod.ts";
import { slice, swiglu } from "../ops/mod.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  Attention,
  type AttentionSetting,
  Decoder,
  type DecoderConfig,
  type FilledConfig,
  residualStart,
  type SlidingConfig,
  START,
  withDefaults,
} from "./decoder.ts";

/** The configuration of a Phi 3, under the names of Hugging Face's `config.json`. */
export interface Phi3Config extends DecoderConfig, Pick<SlidingConfig, "slidingWindow"> {
  /** The fraction of each head, from its start, that is rotated. Default: 1. */
  readonly partialRotaryFactor?: number;
}

/** Attention with one matrix for queries, keys and values. */
class FusedAttention extends Attention {
  readonly o_proj: Linear;
  readonly qkv_proj: Linear;

  constructor(config: FilledConfig, options: ParameterOptions, setting: AttentionSetting) {
    super(config, setting);
    const { hiddenSize: E, numAttentionHeads: H, numKeyValueHeads: Hkv, headDim: D } = config;
    this.o_proj = new Linear(H * D, E, { ...options, ...residualStart(config) });
    this.qkv_proj = new Linear(E, (H + 2 * Hkv) * D, { ...options, ...START });
  }

  protected project(x: Tensor): [queries: Tensor, keys: Tensor, values: Tensor] {
    const { numAttentionHeads: H, numKeyValueHeads: Hkv, headDim: D } = this.config;
    const qkv = this.qkv_proj.forward(x); // (B, T, (H + 2 Hkv) D)
    const heads = (first: number, count: number) =>
      splitHeads(columns(qkv, first * D, (first + count) * D), count);
    return [heads(0, H), heads(H, Hkv), heads(H + Hkv, Hkv)];
  }
}

/** A gated MLP with one matrix for gate and up. */
class FusedMLP extends Module {
  readonly gate_up_proj: Linear;
  readonly down_proj: Linear;

  constructor(config: FilledConfig, options: ParameterOptions) {
    super();
    const { hiddenSize: E, intermediateSize: F } = config;
    this.gate_up_proj = new Linear(E, 2 * F, { ...options, ...START });
    this.down_proj = new Linear(F, E, { ...options, ...residualStart(config) });
  }

  forward(x: Tensor): Tensor {
    const both = this.gate_up_proj.forward(x), F = both.shape.at(-1)! / 2; // (B, T, 2 F)
    x = swiglu(columns(both, 0, F), columns(both, F, 2 * F)); // (B, T, F)
    return this.down_proj.forward(x); // (B, T, E)
  }
}

/** Columns `first` to `end` of x (B, T, C). */
function columns(x: Tensor, first: number, end: number): Tensor {
  const [batch, time] = x.shape as [number, number];
  return slice(x, [[0, batch], [0, time], [first, end]]);
}

/** Phi 3 and 4 of any size. */
export class Phi3 extends Decoder<Required<Phi3Config>> {
  /**
   * Creates a model with the initial values of {@linkcode Decoder}. Throws a `RangeError` for sizes that do not match.
   */
  constructor(config: Phi3Config, options?: ParameterOptions) {
    const { slidingWindow = null, partialRotaryFactor = 1 } = config;
    const filled = { ...withDefaults("Phi3", config), slidingWindow, partialRotaryFactor };
    const { ropeTheta: theta, ropeScaling: scaling, headDim } = filled;
    const turned = Math.floor(headDim * partialRotaryFactor);
    super(filled, options ?? {}, {
      rope: () => ({ theta, scaling, turned, layout: "half-split" }),
      window: () => slidingWindow ?? undefined,
      attention: (...args) => new FusedAttention(...args),
      mlp: (...args) => new FusedMLP(...args),
    });
  }
}
