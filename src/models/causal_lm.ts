/**
 * The base of causal language models: token ids to logits or a loss, through an embedding, a stack of blocks, a norm
 * and an output matrix.
 *
 * Sizes in the comments: B sequences, T tokens, E hidden size, V vocabulary.
 *
 * @module
 */
import {
  type AttentionObserver,
  type CacheDType,
  checkTokens,
  Embedding,
  type ForwardOptions,
  KeyValueCache,
  lastTokens,
  type LayerCache,
  Module,
  type NewPositions,
} from "../nn/mod.ts";
import {
  cast,
  linearCrossEntropy,
  matmul,
  mul,
  neg,
  notEqual,
  reshape,
  slice,
  softcap,
  split,
  stack,
  sum,
} from "../ops/mod.ts";
import { overDocuments } from "../ops/check.ts";
import type { RandomState } from "../tensor/random.ts";
import { recompute } from "../tensor/recompute.ts";
import { scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The configuration that every causal language model has, under the names of Hugging Face's `config.json`. */
export interface CausalLMConfig {
  /** V, the vocabulary size: token ids run from 0 to V - 1. */
  readonly vocabSize: number;
  /** The maximum length of a sequence. */
  readonly maxPositionEmbeddings: number;
  /** E, the width of the residual stream. */
  readonly hiddenSize: number;
  /** The number of blocks. */
  readonly numHiddenLayers: number;
  /** H, the number of attention heads. */
  readonly numAttentionHeads: number;
  /** Hkv, the number of key and value heads; divides H. Default: H. */
  readonly numKeyValueHeads?: number;
  /** D, the size of a head. Default: E / H. */
  readonly headDim?: number;
  /** The cap of the logits (see `softcap`); `null` for none. Default: `null`. */
  readonly finalLogitSoftcapping?: number | null;
}

/**
 * What a forward pass hands to the layers, including the positions of the new tokens. Attention has to go by them, for
 * example by {@linkcode seenKeys}.
 */
export interface Pass extends NewPositions {
  /** The new tokens, (B, T). */
  readonly ids: Tensor;
  /** The block's part of the key-value cache. */
  readonly cache?: LayerCache | undefined;
  /** The random stream for dropout, in training. */
  readonly dropout?: RandomState | undefined;
  /** Called with the weights of each attention, which are computed only for this. */
  readonly observe?: ((weights: Tensor, attention: Module) => void) | undefined;
}

/** One block of the stack. */
export interface Block extends Module {
  /** (B, T, E) to (B, T, E). */
  forward(x: Tensor, pass: Pass): Tensor;
}

/**
 * A causal language model. Subclasses define the embedding, the blocks, the norm and the output matrix. Where rows consist
 * of several documents (`positions`), blocks that attend without regard to them are refused.
 */
export abstract class CausalLM<C extends CausalLMConfig = CausalLMConfig> extends Module {
  /** The configuration, with all defaults filled in. */
  abstract readonly config: C;

  /** The stack of blocks. */
  protected abstract get blocks(): readonly Block[];
  /** The norm after the stack. */
  protected abstract get norm(): { forward(x: Tensor): Tensor };
  /** The output matrix, (V, E). */
  protected abstract get head(): Tensor;
  /** Maps ids (B, T) to the input of the stack, (B, T, E). */
  protected abstract embed(ids: Tensor, pass: Pass): Tensor;

  /**
   * The dtype of keys and values in caches created from now on: `f16` takes half the memory of `f32`, and `int8` a quarter
   * and four bytes for each head. Default: that of the activations.
   */
  cacheDtype: CacheDType | undefined;

  /** Returns an empty cache for decoding `batch` sequences. */
  createCache(batch: number): KeyValueCache {
    const { hiddenSize, numAttentionHeads, numHiddenLayers: layers } = this.config;
    const { numKeyValueHeads: kvHeads = numAttentionHeads, maxPositionEmbeddings } = this.config;
    const { device } = this.head;
    // The dtype of activations; the matrices may have another one.
    const embedding = this.modules().values().find((module) => module instanceof Embedding)!;
    const dtype = this.cacheDtype ?? embedding.dtype;
    const { headDim: headSize = hiddenSize / numAttentionHeads } = this.config;
    const contextSize = maxPositionEmbeddings;
    return new KeyValueCache({ device, dtype, batch, layers, kvHeads, headSize, contextSize });
  }

  /**
   * Returns the residual stream after the embedding and after every block, each (B, T, E), for ids (B, T).
   *
   * @throws {TypeError} unless ids are (B, T), or where `recompute` is combined with `cache` or `observe`, or `positions`
   * with `cache`, or where a block attends to earlier tokens without the `positions` that there are
   * @throws {RangeError} for empty sequences and for those longer than `maxPositionEmbeddings`
   */
  hiddenStates(ids: Tensor, options?: ForwardOptions): Tensor[] {
    checkTokens(this.constructor.name, ids, this.config.maxPositionEmbeddings);
    const { cache, lengths, positions, dropout, observe } = options ?? {};
    if (options?.recompute && (cache || observe)) {
      throw new TypeError(
        `${this.constructor.name}: expected recompute without cache or observe but got both`,
      );
    }
    if (cache && positions) {
      throw new TypeError(
        `${this.constructor.name}: expected positions without a cache, which has its own, but got both`,
      );
    }
    const added = cache?.extend(ids.shape[1]!, lengths) ?? { position: 0, positions };
    const pass: Pass = { ...added, ids, dropout, observe: observe && byName(this, observe) };
    const states = [scoped(() => this.embed(ids, pass))];
    const run = () =>
      this.blocks.forEach((block, i) => {
        const forward = (x: Tensor) => block.forward(x, { ...pass, cache: cache?.layer(i) });
        const x = states[i]!;
        states.push(options?.recompute ? recompute(forward, [x], { random: dropout }) : forward(x));
      });
    if (positions) overDocuments(run);
    else run();
    return states;
  }

  /** Returns the normalised output of the last block, (B, T, E). */
  hidden(ids: Tensor, options?: ForwardOptions): Tensor {
    return scoped(() => this.norm.forward(this.hiddenStates(ids, options).at(-1)!));
  }

  /**
   * Returns the logits of every next token, (B, T, V). All of them are stored, which {@linkcode CausalLM.loss} avoids.
   */
  logits(ids: Tensor, options?: ForwardOptions): Tensor {
    return scoped(() => this.#scores(this.hidden(ids, options)));
  }

  /**
   * Returns the logits of the token after the last one, (B, V). With a cache, the ids continue from those it has read,
   * and are added to it; `lengths` is the number of ids in each row that count. No gradient flows.
   */
  nextLogits(ids: Tensor, options?: Pick<ForwardOptions, "cache" | "lengths">): Tensor {
    return noGrad(() =>
      scoped(() => {
        const x = lastTokens(this.hiddenStates(ids, options).at(-1)!, options?.lengths);
        return this.#scores(this.norm.forward(x));
      })
    );
  }

  /**
   * Returns the mean cross-entropy, in nats, of `targets` (B, T), the tokens that follow `ids` (B, T). Targets of -100
   * are ignored.
   */
  loss(ids: Tensor, targets: Tensor, options?: ForwardOptions): Tensor {
    return scoped(() => this.#crossEntropy(this.hidden(ids, options), targets));
  }

  /**
   * Returns the log-probability, in nats, of each row of `targets` (B, T), the tokens that follow `ids` (B, T): (B) of
   * `f32`. Targets of -100 are ignored; each row must have others.
   */
  logProbs(ids: Tensor, targets: Tensor, options?: ForwardOptions): Tensor {
    return scoped(() => {
      const x = this.hidden(ids, options); // (B, T, E)
      const rows = split(targets, 1).map((row, b) => {
        const states = slice(x, [[b, b + 1]]);
        // Otherwise each row would keep a gradient of the output matrix, V times E.
        return recompute((x, row) => this.#crossEntropy(x!, row!), [states, row]);
      });
      const counts = sum(cast(notEqual(targets, -100), "f32"), 1);
      return neg(mul(stack(rows), counts));
    });
  }

  #crossEntropy(x: Tensor, targets: Tensor): Tensor {
    const states = reshape(x, [targets.size, this.config.hiddenSize]);
    return linearCrossEntropy(states, this.head, reshape(targets, [targets.size]), {
      softcap: this.config.finalLogitSoftcapping ?? undefined,
    });
  }

  /** Logits (..., V) of normalised states (..., E). */
  #scores(x: Tensor): Tensor {
    const { finalLogitSoftcapping: cap = null } = this.config;
    const logits = matmul(x, this.head, { transposeB: true });
    return cap === null ? logits : softcap(logits, cap);
  }
}

/** An observer that receives the paths of a model's modules. */
export function byName(model: Module, observe: AttentionObserver): Pass["observe"] {
  const names = new Map([...model.modules()].map(([name, module]) => [module, name]));
  return (weights, attention) => observe(weights, names.get(attention)!);
}
