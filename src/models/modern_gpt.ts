/**
 * A GPT like those that set public speed records (Jordan et al. 2024, modded-nanogpt; Karpathy 2025, nanochat): GPT-2's
 * stack of pre-norm blocks with later changes that make it learn faster. These are rotary positions (Su et al. 2021),
 * norms of queries and keys (Henry et al. 2020), RMS norms without weights, also of the embedding, a squared ReLU in
 * the MLP (So et al. 2021), no biases, a separate output matrix, soft-capped logits (Gemma Team 2024), zero-initialised
 * maps into the residual stream, and optionally token vectors that are added to the values (Zhou et al. 2024). Fields
 * have the names of nanochat. It is meant to be trained with `Muon`.
 *
 * Sizes in the comments: B sequences, T tokens, E hidden size, H heads of D = E / H, F intermediate size, V vocabulary.
 *
 * @module
 */
import {
  causalAttention,
  Embedding,
  feedForwardOf,
  init,
  Linear,
  Module,
  type ParameterOptions,
  seenKeys,
  splitHeads,
} from "../nn/mod.ts";
import { add, reshape, rmsNorm, rotary } from "../ops/mod.ts";
import { scoped } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { CausalLM, type Pass } from "./causal_lm.ts";

/**
 * The configuration of a {@linkcode ModernGPT}, including which parts it has, under the names of Hugging Face's
 * `config.json`.
 */
export interface ModernGPTConfig {
  /** V, the vocabulary size: token ids run from 0 to V - 1. */
  readonly vocabSize: number;
  /** The maximum length of a sequence. No parameter depends on it. */
  readonly maxPositionEmbeddings: number;
  /** E, the width of the residual stream. */
  readonly hiddenSize: number;
  /** The number of blocks. */
  readonly numHiddenLayers: number;
  /** H, the number of attention heads; divides E into heads of an even size. */
  readonly numAttentionHeads: number;
  /** F, the width inside the MLP. Default: 4 E. */
  readonly intermediateSize?: number;
  /** The base of the rotary frequencies; `null` for a model without positions. Default: 10,000. */
  readonly ropeTheta?: number | null;
  /** Whether queries and keys are normalised. Default: true. */
  readonly qkNorm?: boolean;
  /** The activation function of the MLP. Default: `relu2`. */
  readonly hiddenAct?: "relu2" | "gelu_pytorch_tanh";
  /** The cap of the logits (see `softcap`); `null` for none. Default: 15. */
  readonly finalLogitSoftcapping?: number | null;
  /** Whether the token embedding is also the output matrix. Default: false. */
  readonly tieWordEmbeddings?: boolean;
  /** Whether every other block, including the last, adds a vector of the token to its values. Default: false. */
  readonly valueEmbeddings?: boolean;
  /** Added to the mean square in every norm. Default: 1e-6. */
  readonly rmsNormEps?: number;
}

type Config = Required<ModernGPTConfig>;

/**
 * Causal self-attention over H heads whose queries and keys are rotated by their positions and normalised to length
 * sqrt(D).
 */
class SelfAttention extends Module {
  readonly c_q: Linear;
  readonly c_k: Linear;
  readonly c_v: Linear;
  readonly c_proj: Linear;
  readonly value_embed: Embedding | undefined;
  readonly config: Config;

  constructor(config: Config, index: number, options: ParameterOptions) {
    super();
    const { hiddenSize: E, vocabSize, numHiddenLayers, valueEmbeddings } = config;
    const start = { ...options, ...startOf(E) };
    this.c_q = new Linear(E, E, start);
    this.c_k = new Linear(E, E, start);
    this.c_v = new Linear(E, E, start);
    this.c_proj = new Linear(E, E, { ...options, ...SILENT });
    const hasVectors = valueEmbeddings && (numHiddenLayers - 1 - index) % 2 === 0;
    this.value_embed = hasVectors
      ? new Embedding(vocabSize, E, { ...options, init: EMBEDDING })
      : undefined;
    this.config = config;
  }

  /** Returns `residual` plus the layer's result, both (B, T, E). */
  forward(x: Tensor, pass: Pass, residual: Tensor): Tensor {
    const { numAttentionHeads: H, rmsNormEps: eps } = this.config;
    const queries = this.#place(splitHeads(this.c_q.forward(x), H), pass); // (B, T, H, D)
    const keys = this.#place(splitHeads(this.c_k.forward(x), H), pass); // (B, T, H, D)
    let v = this.c_v.forward(x);
    if (this.value_embed) {
      v = add(v, rmsNorm(this.value_embed.forward(pass.ids), undefined, { eps }));
    }
    const values = splitHeads(v, H); // (B, T, H, D)
    const seen = seenKeys(pass, keys, values);
    pass.observe?.(causalAttention.weights(queries, seen), this); // (B, H, T, T)
    const y = reshape(causalAttention.mix(queries, seen), x.shape); // (B, T, E)
    return this.c_proj.forward(y, residual);
  }

  /** Queries or keys, normalised and rotated by their positions. */
  #place(x: Tensor, { position, positions }: Pass): Tensor {
    const { qkNorm, ropeTheta: theta, rmsNormEps: eps } = this.config;
    if (qkNorm) x = rmsNorm(x, undefined, { eps });
    return theta === null ? x : rotary(x, { theta, layout: "half-split", position, positions });
  }
}

/** Two linear maps with a squared ReLU between them. */
class MLP extends Module {
  readonly c_fc: Linear;
  readonly c_proj: Linear;
  readonly hiddenAct: Config["hiddenAct"];

  constructor(
    { hiddenSize: E, intermediateSize: F, hiddenAct }: Config,
    options: ParameterOptions,
  ) {
    super();
    this.c_fc = new Linear(E, F, { ...options, ...startOf(E) });
    this.c_proj = new Linear(F, E, { ...options, ...SILENT });
    this.hiddenAct = hiddenAct;
  }

  /** Returns `residual` plus the layer's result, both (B, T, E). */
  forward(x: Tensor, residual: Tensor): Tensor {
    const activation = this.hiddenAct === "relu2" ? "reluSquared" : "geluTanh";
    return feedForwardOf(x, this.c_fc, this.c_proj, { activation, residual });
  }
}

/**
 * A block: attention, then an MLP, each of which adds to the residual stream.
 *
 * @internal
 */
class Block extends Module {
  readonly attn: SelfAttention;
  readonly mlp: MLP;
  readonly eps: number;

  constructor(config: Config, index: number, options: ParameterOptions) {
    super();
    this.attn = new SelfAttention(config, index, options);
    this.mlp = new MLP(config, options);
    this.eps = config.rmsNormEps;
  }

  forward(x: Tensor, pass: Pass): Tensor {
    const norm = (x: Tensor) => rmsNorm(x, undefined, { eps: this.eps });
    return scoped(() => {
      x = this.attn.forward(norm(x), pass, x); // (B, T, E)
      return this.mlp.forward(norm(x), x); // (B, T, E)
    });
  }
}

/**
 * A modern GPT of any size. It has no dropout, and all its parameters are matrices.
 *
 * @example Scores stay within the cap
 * ```ts
 * import { CpuDevice, ModernGPT, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 20, maxPositionEmbeddings: 16, hiddenSize: 24, numHiddenLayers: 2, numAttentionHeads: 3 };
 * using model = new ModernGPT({ ...sizes, finalLogitSoftcapping: 15 }, { device });
 * using logits = model.logits(tensor([[1, 2, 3]], { device, dtype: "i32" }));
 * assert.deepEqual(logits.shape, [1, 3, 20]);
 * assert((await logits.data()).every((logit: number) => Math.abs(logit) < 15));
 * ```
 */
export class ModernGPT extends CausalLM<Required<ModernGPTConfig>> {
  /** The configuration, with all defaults filled in. */
  readonly config: Required<ModernGPTConfig>;
  /** The token embedding, (V, E). */
  readonly wte: Embedding;
  /** The blocks. */
  readonly h: readonly Block[];
  /** The output matrix, unless the embedding is tied to it. */
  readonly lm_head: Linear | undefined;

  /**
   * Creates a model initialised from normal distributions of standard deviation 0.02 for embeddings, 0.001 for the
   * output matrix and 1 / sqrt(E) for linear maps, with 0 in those that write into the residual stream: at first, every
   * block passes its input through unchanged. Throws a `RangeError` if the heads do not divide the hidden size into
   * even sizes.
   */
  constructor(config: ModernGPTConfig, options?: ParameterOptions) {
    super();
    this.config = withDefaults(config);
    const { vocabSize, hiddenSize: E, numHiddenLayers, tieWordEmbeddings } = this.config;
    this.wte = new Embedding(vocabSize, E, { ...options, init: EMBEDDING });
    this.h = Array.from(
      { length: numHiddenLayers },
      (_, index) => new Block(this.config, index, options ?? {}),
    );
    this.lm_head = tieWordEmbeddings
      ? undefined
      : new Linear(E, vocabSize, { ...options, bias: false, init: init.normal(0.001) });
  }

  /** Token vectors, normalised, (B, T, E). */
  protected embed(ids: Tensor): Tensor {
    return this.norm.forward(this.wte.forward(ids)); // (B, T, E)
  }

  /** The blocks. */
  protected get blocks(): readonly Block[] {
    return this.h;
  }

  /** The norm after the blocks. */
  protected get norm(): { forward(x: Tensor): Tensor } {
    const { rmsNormEps: eps } = this.config;
    return { forward: (x) => rmsNorm(x, undefined, { eps }) };
  }

  /** The output matrix, (V, E). */
  protected get head(): Tensor {
    return (this.lm_head ?? this.wte).weight;
  }
}

/** Embeddings are normalised, so their scale only decides how fast they change. */
const EMBEDDING = init.normal(0.02);

/** How the two maps of a block that write into the residual stream are initialised. */
const SILENT = { init: init.zeros, bias: false };

/** How maps with E inputs are initialised. */
function startOf(E: number) {
  return { init: init.normal(1 / Math.sqrt(E)), bias: false };
}

function withDefaults(config: ModernGPTConfig): Config {
  const { hiddenSize, numAttentionHeads } = config;
  if (hiddenSize % (2 * numAttentionHeads) !== 0) {
    throw new RangeError(
      `ModernGPT: expected numAttentionHeads to divide hiddenSize into even sizes but got ` +
        `${numAttentionHeads} and ${hiddenSize}`,
    );
  }
  const { intermediateSize = 4 * hiddenSize, ropeTheta = 10000, qkNorm = true } = config;
  const { hiddenAct = "relu2", finalLogitSoftcapping = 15, tieWordEmbeddings = false } = config;
  const { valueEmbeddings = false, rmsNormEps = 1e-6 } = config;
  return {
    ...{ ...config, intermediateSize, ropeTheta, qkNorm, hiddenAct },
    ...{ finalLogitSoftcapping, tieWordEmbeddings, valueEmbeddings, rmsNormEps },
  };
}
