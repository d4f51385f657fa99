/**
 * Gemma 3 (Gemma Team 2025, "Gemma 3 Technical Report"), text only. Differences from LLaMA: norms multiply by 1 +
 * weight, and there are norms after attention and MLP, too; queries and keys are normalised; the gate is a GELU; token
 * vectors are multiplied by sqrt(E); and five of six blocks see only the last `slidingWindow` tokens, with their own
 * rotary frequencies.
 *
 * @module
 */
import { Module, type ParameterOptions, type RMSNorm } from "../nn/mod.ts";
import { add, gelu, mul } from "../ops/mod.ts";
import { scoped } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { CausalLMConfig, Pass } from "./causal_lm.ts";
import {
  type Attention,
  Decoder,
  type DecoderConfig,
  type GatedMLP,
  type LayerType,
  MLP,
  type SlidingConfig,
  windowOf,
  withDefaults,
  withLayerTypes,
} from "./decoder.ts";

/**
 * The configuration of a Gemma 3, under the names of Hugging Face's `config.json`. By default, five of six blocks have
 * sliding attention, the output matrix is tied to the embedding, and `ropeTheta` is 1,000,000. `ropeTheta` and
 * `ropeScaling` apply to full attention only.
 */
export interface Gemma3Config
  extends DecoderConfig, SlidingConfig, Pick<CausalLMConfig, "finalLogitSoftcapping"> {
  /** The number of tokens that a token sees in blocks with sliding attention, itself included. */
  readonly slidingWindow: number;
  /** The base of the rotary frequencies of sliding attention. Default: 10,000. */
  readonly ropeLocalBaseFreq?: number;
  /** Attention scores are multiplied by 1 / sqrt of this. Default: D. */
  readonly queryPreAttnScalar?: number;
}

/** A block with a norm before and after each of its two parts. */
class Block extends Module {
  readonly input_layernorm: RMSNorm;
  readonly self_attn: Attention;
  readonly post_attention_layernorm: RMSNorm;
  readonly pre_feedforward_layernorm: RMSNorm;
  readonly mlp: GatedMLP;
  readonly post_feedforward_layernorm: RMSNorm;

  constructor(attention: Attention, mlp: GatedMLP, norm: () => RMSNorm) {
    super();
    this.input_layernorm = norm();
    this.self_attn = attention;
    this.post_attention_layernorm = norm();
    this.pre_feedforward_layernorm = norm();
    this.mlp = mlp;
    this.post_feedforward_layernorm = norm();
  }

  forward(x: Tensor, pass: Pass): Tensor {
    return scoped(() => {
      const mixed = this.self_attn.forward(this.input_layernorm.forward(x), pass); // (B, T, E)
      x = add(x, this.post_attention_layernorm.forward(mixed));
      const y = this.mlp.forward(this.pre_feedforward_layernorm.forward(x)); // (B, T, E)
      return add(x, this.post_feedforward_layernorm.forward(y));
    });
  }
}

/** gelu(gate) * up, with GPT-2's approximation of the GELU. */
function geglu(gate: Tensor, up: Tensor): Tensor {
  return mul(gelu(gate, { approximate: "tanh" }), up);
}

/** The kind of attention of each block of Gemma 3. */
export function fiveOfSix(layers: number): LayerType[] {
  return Array.from(
    { length: layers },
    (_, layer) => (layer + 1) % 6 === 0 ? "full_attention" : "sliding_attention",
  );
}

/** Gemma 3 of any size, text only. */
export class Gemma3 extends Decoder<Required<Gemma3Config>> {
  /**
   * Creates a model with the initial values of {@linkcode Decoder}. Throws a `RangeError` for sizes that do not match.
   */
  constructor(config: Gemma3Config, options?: ParameterOptions) {
    const { ropeTheta = 1_000_000, rmsNormEps = 1e-6, tieWordEmbeddings = true } = config;
    const sized = { ...config, ropeTheta, rmsNormEps, tieWordEmbeddings };
    const { slidingWindow, finalLogitSoftcapping = null } = config;
    const filled = withLayerTypes("Gemma3", {
      layerTypes: fiveOfSix(config.numHiddenLayers),
      ...withDefaults("Gemma3", sized),
    });
    const { ropeLocalBaseFreq = 10_000, queryPreAttnScalar = filled.headDim } = config;
    const { ropeScaling: scaling, layerTypes } = filled;
    const own = { slidingWindow, finalLogitSoftcapping, ropeLocalBaseFreq, queryPreAttnScalar };
    super({ ...filled, ...own }, options ?? {}, {
      qkNorm: true,
      normOffset: 1,
      scale: 1 / Math.sqrt(queryPreAttnScalar),
      rope: (layer) => ({
        layout: "half-split",
        ...layerTypes[layer] === "full_attention"
          ? { theta: ropeTheta, scaling }
          : { theta: ropeLocalBaseFreq },
      }),
      window: windowOf(filled),
      mlp: (config, options) => new MLP(config, options, geglu),
      block: (...args) => new Block(...args),
    });
  }

  /** Token vectors times sqrt(E), (B, T, E). */
  protected override embed(ids: Tensor): Tensor {
    return scoped(() => mul(super.embed(ids), Math.sqrt(this.config.hiddenSize)));
  }
}
