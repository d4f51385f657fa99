/**
 * Gemma 3 (Gemma Team 2025, "Gemma 3 Technical Report"), the part that reads and writes text: against LLaMA its norms
 * multiply by 1 + weight and stand behind attention and MLP, too, queries and keys are normalised, the gate is a GELU, token
 * vectors are multiplied by sqrt(E), and five of six blocks see the last `slidingWindow` tokens alone, with rotary
 * positions of their own.
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
 * The sizes of a Gemma 3, by the names of Hugging Face's `config.json`. By default five of six blocks have sliding attention,
 * the output matrix is the embedding's, and `ropeTheta`, of the full attention, is 1,000,000; so is `ropeScaling`.
 */
export interface Gemma3Config
  extends DecoderConfig, SlidingConfig, Pick<CausalLMConfig, "finalLogitSoftcapping"> {
  /** How many tokens a token sees in blocks of sliding attention, itself among them. */
  readonly slidingWindow: number;
  /** Base of the rotary frequencies of the sliding attention. Default: 10,000. */
  readonly ropeLocalBaseFreq?: number;
  /** The factor of attention's scores is 1 / sqrt of it. Default: D. */
  readonly queryPreAttnScalar?: number;
}

/** A block with a norm before and behind each of its two parts. */
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

/** gelu(gate) * up, in GPT-2's approximation of the GELU. */
function geglu(gate: Tensor, up: Tensor): Tensor {
  return mul(gelu(gate, { approximate: "tanh" }), up);
}

/** Gemma 3's kinds of attention, block by block. */
export function fiveOfSix(layers: number): LayerType[] {
  return Array.from(
    { length: layers },
    (_, layer) => (layer + 1) % 6 === 0 ? "full_attention" : "sliding_attention",
  );
}

/** Gemma 3 of any size, without pictures. */
export class Gemma3 extends Decoder<Required<Gemma3Config>> {
  /** A model with initial values as {@linkcode Decoder} has them. Throws a `RangeError` for sizes that do not fit. */
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
