/**
 * LLaMA (Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models"; LLaMA 2, the same year;
 * Llama Team 2024, "The Llama 3 Herd of Models"): GPT-2's stack of pre-norm blocks with four changes. RMS norms
 * instead of layer norms, rotary positions in every attention instead of learned ones at the entrance, a gated
 * MLP (SwiGLU) instead of a GELU, and no biases; the output matrix is one of its own.
 *
 * | | `kvHeads` | `ropeTheta` |
 * | --- | --- | --- |
 * | LLaMA 1 | as many as `heads` | 10,000 |
 * | LLaMA 2 | fewer: grouped queries | 10,000 |
 * | LLaMA 3 | fewer: grouped queries | 500,000, for longer contexts |
 *
 * Sizes in the comments: B sequences, T tokens, E embedding, H heads of D = E / H, Hkv heads of keys and
 * values, K = Hkv D, F hidden layer of the MLP, V vocabulary.
 *
 * @module
 */
import type { Device } from "../device/device.ts";
import { causalAttention } from "../nn/causal_attention.ts";
import { checkTokens } from "../nn/check_tokens.ts";
import type { AttentionObserver, ForwardOptions } from "../nn/forward_options.ts";
import { KeyValueCache, type LayerCache, type NewPositions } from "../nn/key_value_cache.ts";
import { lastTokens } from "../nn/last_tokens.ts";
import { Linear } from "../nn/linear.ts";
import { type ParameterOptions, Parameters } from "../nn/parameters.ts";
import { RMSNorm } from "../nn/rms_norm.ts";
import { embedding } from "../ops/embedding.ts";
import { linearCrossEntropy } from "../ops/linear_cross_entropy.ts";
import { matmul } from "../ops/matmul.ts";
import { reshape } from "../ops/reshape.ts";
import { rotary } from "../ops/rotary.ts";
import type { RotaryScaling } from "../ops/rotary_frequencies.ts";
import { swiglu } from "../ops/swiglu.ts";
import { recompute } from "../tensor/recompute.ts";
import { scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The sizes of a LLaMA. */
export interface LLaMAConfig {
  /** V: token ids run from 0 to V - 1. */
  readonly vocabSize: number;
  /** The longest sequence. No parameter depends on it. */
  readonly contextSize: number;
  /** E. */
  readonly embedSize: number;
  /** Number of blocks. */
  readonly layers: number;
  /** H; divides E into heads of an even size. */
  readonly heads: number;
  /** Hkv; divides H. Default: H, ordinary attention. */
  readonly kvHeads?: number;
  /**
   * Width of the hidden layer that a GPT's MLP would have, from which F follows so that the number of parameters
   * stays the same. Default: 4 E.
   */
  readonly hiddenSize?: number;
  /** F itself, as checkpoints give it. Default: from `hiddenSize`. */
  readonly intermediateSize?: number;
  /** How slowly the last pair of a head turns with the position. Default: 10,000. */
  readonly ropeTheta?: number;
  /** How positions beyond those that it was first trained on are reached, as since LLaMA 3.1. Default: `null`. */
  readonly ropeScaling?: RotaryScaling | null;
  /**
   * Which elements of a head turn together: neighbours, as in the paper and in Meta's files, or those half a head
   * apart, as in Hugging Face's files. Default: `interleaved`.
   */
  readonly ropeLayout?: "interleaved" | "half-split";
  /** Added to the mean square in every norm. Default: 1e-5. */
  readonly normEps?: number;
  /** Whether the token embedding is the output matrix too, as in small LLaMA 3.2 models. Default: false. */
  readonly tied?: boolean;
}

/**
 * LLaMA of any size. It has no dropout.
 *
 * @example The three generations at one number of parameters
 * ```ts
 * import { CpuDevice, LLaMA } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 20, contextSize: 16, embedSize: 24, layers: 2, heads: 6 };
 * const first = new LLaMA(sizes, { device });
 * const second = new LLaMA({ ...sizes, kvHeads: 3 }, { device });
 * const third = new LLaMA({ ...sizes, kvHeads: 3, ropeTheta: 500_000 }, { device });
 * assert.equal(first.parameterCount(), second.parameterCount());
 * assert.equal(first.parameterCount(), third.parameterCount());
 * ```
 */
export class LLaMA {
  /** The sizes, all filled in. */
  readonly config: Required<LLaMAConfig>;
  readonly #parameters: Parameters;
  readonly #tokens: Tensor; // (V, E)
  readonly #blocks: Block[];
  readonly #norm: RMSNorm;
  readonly #output: Tensor; // (V, E)

  /**
   * A model whose weights come from a normal distribution of standard deviation 0.02, those that write into the
   * residual stream divided by sqrt(2 layers). Parameters have the names of Hugging Face's files. Throws a
   * `RangeError` when the heads do not divide the embedding into even sizes, or the heads of keys and values
   * do not divide the heads.
   */
  constructor(config: LLaMAConfig, options: ParameterOptions = {}) {
    this.config = withDefaults(config);
    const { vocabSize, embedSize, layers, normEps, tied } = this.config;
    const p = this.#parameters = new Parameters(options);
    const model = p.at("model");
    this.#tokens = model.at("embed_tokens").create("weight", [vocabSize, embedSize], { std: 0.02 });
    this.#blocks = Array.from(
      { length: layers },
      (_, i) => new Block(model.at("layers").at(i), this.config),
    );
    this.#norm = new RMSNorm(model.at("norm"), embedSize, normEps);
    this.#output = tied
      ? this.#tokens
      : p.at("lm_head").create("weight", [vocabSize, embedSize], { std: 0.02 });
  }

  /** Where it lives. */
  get device(): Device {
    return this.#tokens.device;
  }

  /** The parameters by name. */
  parameters(): ReadonlyMap<string, Tensor> {
    return this.#parameters.all();
  }

  /** Number of parameters, tied ones counted once. */
  parameterCount(): number {
    return this.#parameters.count();
  }

  /** An empty cache for decoding `batch` sequences. */
  createCache(batch: number): KeyValueCache {
    const { embedSize, heads, kvHeads, layers, contextSize } = this.config;
    const { device, dtype } = this.#tokens;
    const headSize = embedSize / heads;
    return new KeyValueCache({ device, dtype, batch, layers, kvHeads, headSize, contextSize });
  }

  /**
   * The residual stream after the embedding and after every block, each (B, T, E), for ids (B, T). Throws a
   * `RangeError` when the sequences are longer than the context.
   */
  hiddenStates(ids: Tensor, options: ForwardOptions = {}): Tensor[] {
    checkTokens("LLaMA", ids, this.config.contextSize);
    const { cache, lengths, observe } = options;
    if (options.recompute && (cache || observe)) {
      throw new TypeError("LLaMA: recompute does not go together with cache or observe");
    }
    const positions = cache?.extend(ids.shape[1], lengths) ?? { start: 0, starts: undefined };
    const states = [embedding(this.#tokens, ids)];
    this.#blocks.forEach((block, i) => {
      const forward = (x: Tensor) =>
        block.forward(x, { positions, cache: cache?.layer(i), observe });
      states.push(options.recompute ? recompute(forward, [states[i]]) : forward(states[i]));
    });
    return states;
  }

  /** The last block's output, normalised, (B, T, E). */
  hidden(ids: Tensor, options: ForwardOptions = {}): Tensor {
    return scoped(() => this.#norm.forward(this.hiddenStates(ids, options).at(-1)!));
  }

  /** Scores of every next token, (B, T, V). Holds all of them: {@linkcode LLaMA.loss} does not. */
  logits(ids: Tensor, options: ForwardOptions = {}): Tensor {
    return scoped(() => matmul(this.hidden(ids, options), this.#output, { transposeB: true }));
  }

  /**
   * Scores of the token after the last one, (B, V). With a cache the ids go on from those it has read, and are added
   * to it; `lengths` tells how many ids of each row count. No gradient flows.
   */
  nextLogits(ids: Tensor, options: Pick<ForwardOptions, "cache" | "lengths"> = {}): Tensor {
    return noGrad(() =>
      scoped(() => {
        const states = this.hiddenStates(ids, options);
        const last = this.#norm.forward(lastTokens(states.at(-1)!, options.lengths));
        return matmul(last, this.#output, { transposeB: true });
      })
    );
  }

  /** The mean cross-entropy in nats of `targets` (B, T), the tokens that follow `ids` (B, T). */
  loss(ids: Tensor, targets: Tensor, options: ForwardOptions = {}): Tensor {
    return scoped(() => {
      const hidden = reshape(this.hidden(ids, options), [ids.size, this.config.embedSize]);
      return linearCrossEntropy(hidden, this.#output, reshape(targets, [targets.size]));
    });
  }

  /** Frees the parameters. */
  dispose(): void {
    this.#parameters.dispose();
  }
}

/** x + attention(norm(x)), then x + mlp(norm(x)). */
class Block {
  readonly #norm1: RMSNorm;
  readonly #attention: SelfAttention;
  readonly #norm2: RMSNorm;
  readonly #mlp: MLP;

  constructor(p: Parameters, config: Required<LLaMAConfig>) {
    const { embedSize, normEps } = config;
    this.#norm1 = new RMSNorm(p.at("input_layernorm"), embedSize, normEps);
    this.#attention = new SelfAttention(p.at("self_attn"), config);
    this.#norm2 = new RMSNorm(p.at("post_attention_layernorm"), embedSize, normEps);
    this.#mlp = new MLP(p.at("mlp"), config);
  }

  forward(x: Tensor, pass: Pass): Tensor {
    return scoped(() => {
      x = this.#attention.forward(this.#norm1.forward(x), x, pass);
      return this.#mlp.forward(this.#norm2.forward(x), x);
    });
  }
}

/**
 * Causal self-attention in which H / Hkv heads of queries share one head of keys and values (Ainslie et al. 2023,
 * "GQA"), and queries and keys are turned by their positions (Su et al. 2021, "RoFormer").
 */
class SelfAttention {
  readonly #name: string;
  readonly #config: Required<LLaMAConfig>;
  readonly #query: Linear;
  readonly #key: Linear;
  readonly #value: Linear;
  readonly #output: Linear;

  constructor(p: Parameters, config: Required<LLaMAConfig>) {
    const { embedSize, heads, kvHeads, layers } = config;
    const kvSize = kvHeads * embedSize / heads;
    this.#name = p.name;
    this.#config = config;
    this.#query = new Linear(p.at("q_proj"), embedSize, embedSize, { bias: false });
    this.#key = new Linear(p.at("k_proj"), embedSize, kvSize, { bias: false });
    this.#value = new Linear(p.at("v_proj"), embedSize, kvSize, { bias: false });
    this.#output = new Linear(p.at("o_proj"), embedSize, embedSize, writer(layers));
  }

  /** (B, T, E), and what is added to it, to (B, T, E). */
  forward(x: Tensor, stream: Tensor, { positions, cache, observe }: Pass): Tensor {
    const { heads, kvHeads, ropeTheta: theta, ropeScaling: scaling, ropeLayout: layout } =
      this.#config;
    const [batch, length, embedSize] = x.shape;
    const split = (y: Tensor, n: number) => reshape(y, [batch, length, n, embedSize / heads]);
    const turn = (y: Tensor) => rotary(y, { theta, scaling, layout, ...positions });
    const query = turn(split(this.#query.forward(x), heads));
    const keys = turn(split(this.#key.forward(x), kvHeads));
    const values = split(this.#value.forward(x), kvHeads);
    const seen = cache?.append(keys, values) ?? { keys, values };
    observe?.(causalAttention.weights(query, seen), this.#name);
    const mixed = reshape(causalAttention.mix(query, seen), x.shape);
    return this.#output.forward(mixed, stream);
  }
}

/** down(silu(gate(x)) * up(x)) (Shazeer 2020, "GLU Variants Improve Transformer"). */
class MLP {
  readonly #gate: Linear;
  readonly #up: Linear;
  readonly #down: Linear;

  constructor(p: Parameters, { embedSize, intermediateSize, layers }: Required<LLaMAConfig>) {
    this.#gate = new Linear(p.at("gate_proj"), embedSize, intermediateSize, { bias: false });
    this.#up = new Linear(p.at("up_proj"), embedSize, intermediateSize, { bias: false });
    this.#down = new Linear(p.at("down_proj"), intermediateSize, embedSize, writer(layers));
  }

  forward(x: Tensor, stream: Tensor): Tensor {
    return this.#down.forward(swiglu(this.#gate.forward(x), this.#up.forward(x)), stream);
  }
}

/** What a forward pass hands to each block. */
interface Pass {
  readonly positions: NewPositions;
  readonly cache: LayerCache | undefined;
  readonly observe: AttentionObserver | undefined;
}

/** The two maps of a block that write into the residual stream start smaller, so that it does not grow. */
function writer(layers: number): { bias: false; initial: { std: number } } {
  return { bias: false, initial: { std: 0.02 / Math.sqrt(2 * layers) } };
}

function withDefaults(config: LLaMAConfig): Required<LLaMAConfig> {
  const { vocabSize, contextSize, embedSize, layers, heads, kvHeads = heads } = config;
  if (embedSize % (2 * heads) !== 0) {
    throw new RangeError(
      `LLaMA: ${heads} heads do not divide an embedding of ${embedSize} into heads of even size`,
    );
  }
  if (heads % kvHeads !== 0) {
    throw new RangeError(
      `LLaMA: ${kvHeads} heads of keys and values do not divide ${heads} heads of queries`,
    );
  }
  const kvSize = kvHeads * embedSize / heads;
  const { hiddenSize = 4 * embedSize } = config;
  const { intermediateSize = gatedSize(hiddenSize, embedSize, kvSize) } = config;
  const { ropeTheta = 10000, ropeScaling = null, ropeLayout = "interleaved" } = config;
  const { normEps = 1e-5, tied = false } = config;
  return {
    ...{ vocabSize, contextSize, embedSize, layers, heads, kvHeads, hiddenSize, intermediateSize },
    ...{ ropeTheta, ropeScaling, ropeLayout, normEps, tied },
  };
}

/**
 * F, for which a block has as many weights as GPT-2's with an MLP of `hiddenSize` h. That block has 4 E^2 in its
 * attention and 2 E h in its MLP. Grouped queries make the attention 2 E^2 + 2 E K, so 2 E (E - K) are left to
 * spend: h may grow by E - K. And three matrices of a gated MLP are as large as two when F = 2/3 h.
 */
function gatedSize(hiddenSize: number, embedSize: number, kvSize: number): number {
  return Math.round(2 * (hiddenSize + embedSize - kvSize) / 3);
}
