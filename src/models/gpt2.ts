/**
 * GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"): a stack of pre-norm
 * transformer blocks with learned positions, the output matrix tied to the token embedding.
 *
 * Sizes in the comments: B sequences, T tokens, E embedding, H heads of D = E / H, V vocabulary.
 *
 * @module
 */
import type { Device } from "../device/device.ts";
import { type AttentionPattern, causalAttention } from "../nn/causal_attention.ts";
import type { AttentionObserver, ForwardOptions } from "../nn/forward_options.ts";
import { KeyValueCache, type LayerCache } from "../nn/key_value_cache.ts";
import { lastTokens } from "../nn/last_tokens.ts";
import { LayerNorm } from "../nn/layer_norm.ts";
import { Linear } from "../nn/linear.ts";
import { type ParameterOptions, Parameters } from "../nn/parameters.ts";
import { gelu } from "../ops/activations.ts";
import { add } from "../ops/arithmetic.ts";
import { dropout } from "../ops/dropout.ts";
import { embedding } from "../ops/embedding.ts";
import { linearCrossEntropy } from "../ops/linear_cross_entropy.ts";
import { matmul } from "../ops/matmul.ts";
import { reshape } from "../ops/reshape.ts";
import { slice } from "../ops/slice.ts";
import type { RandomState } from "../tensor/random.ts";
import { recompute } from "../tensor/recompute.ts";
import { scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The sizes of a GPT-2. */
export interface GPT2Config {
  /** V: token ids run from 0 to V - 1. GPT-2's 50,257 are padded to 50,304 for speed. */
  readonly vocabSize: number;
  /** The longest sequence. */
  readonly contextSize: number;
  /** E. */
  readonly embedSize: number;
  /** Number of blocks. */
  readonly layers: number;
  /** H; divides E. */
  readonly heads: number;
  /** Width of the hidden layer of the MLP. Default: 4 E. */
  readonly hiddenSize?: number;
  /** Probability of dropping an embedding, an attention output or an MLP output in training. Default: 0. */
  readonly dropout?: number;
}

/** What sets the blocks of GPT-3 apart. */
export interface BlockKind {
  /** How its tokens attend. */
  readonly attention: AttentionPattern;
  /** The GELU of its MLP: the tanh form, or exact. */
  readonly gelu: "tanh" | "none";
}

const DENSE: BlockKind = { attention: causalAttention, gelu: "tanh" };

/** GPT-2 of any size. */
export class GPT2 {
  /** The sizes, all filled in. */
  readonly config: Required<GPT2Config>;
  readonly #parameters: Parameters;
  readonly #tokens: Tensor; // (V, E), also the output matrix
  readonly #positions: Tensor; // (context, E)
  readonly #blocks: Block[];
  readonly #norm: LayerNorm;

  /**
   * A model with GPT-2's initial values: weights from a normal distribution of standard deviation 0.02, those
   * that write into the residual stream divided by sqrt(2 layers), biases 0. Throws a `RangeError` when the
   * heads do not divide the embedding. `kind` is for models whose blocks differ.
   */
  constructor(
    config: GPT2Config,
    options: ParameterOptions = {},
    kind: (layer: number) => BlockKind = () => DENSE,
  ) {
    const { vocabSize, contextSize, embedSize, layers, heads } = config;
    const { hiddenSize = 4 * embedSize, dropout = 0 } = config;
    if (embedSize % heads !== 0) {
      throw new RangeError(`GPT2: ${heads} heads do not divide an embedding of ${embedSize}`);
    }
    this.config = { vocabSize, contextSize, embedSize, layers, heads, hiddenSize, dropout };
    const p = this.#parameters = new Parameters(options);
    this.#tokens = p.at("wte").create("weight", [vocabSize, embedSize], { std: 0.02 });
    this.#positions = p.at("wpe").create("weight", [contextSize, embedSize], { std: 0.02 });
    this.#blocks = Array.from(
      { length: layers },
      (_, i) => new Block(p.at("h").at(i), this.config, kind(i)),
    );
    this.#norm = new LayerNorm(p.at("ln_f"), embedSize);
  }

  /** Where it lives. */
  get device(): Device {
    return this.#tokens.device;
  }

  /** The parameters by name; the tied output matrix is `wte.weight`. */
  parameters(): ReadonlyMap<string, Tensor> {
    return this.#parameters.all();
  }

  /** Number of parameters, tied ones counted once. */
  parameterCount(): number {
    return this.#parameters.count();
  }

  /** An empty cache for decoding `batch` sequences. */
  createCache(batch: number): KeyValueCache {
    const { embedSize, heads, layers, contextSize } = this.config;
    const { device, dtype } = this.#tokens;
    const headSize = embedSize / heads;
    return new KeyValueCache({
      ...{ device, dtype, batch, layers, contextSize },
      ...{ kvHeads: heads, headSize },
    });
  }

  /**
   * The residual stream after the embedding and after every block, each (B, T, E), for ids (B, T). Throws a
   * `RangeError` when the sequences are longer than the context.
   */
  hiddenStates(ids: Tensor, options: ForwardOptions = {}): Tensor[] {
    const [batch, length] = ids.shape;
    if (ids.shape.length !== 2 || length > this.config.contextSize) {
      throw new RangeError(
        `GPT2: expected ids (B, T) of at most ${this.config.contextSize} tokens but got ` +
          `[${ids.shape.join(", ")}]`,
      );
    }
    const { cache, observe } = options;
    if (options.recompute && (cache || observe)) {
      throw new TypeError("GPT2: recompute does not go together with cache or observe");
    }
    const drop = { p: this.config.dropout, random: options.dropout };
    const { start, starts } = cache?.extend(length, options.lengths) ?? { start: 0 };
    const embedded = scoped(() => {
      const positions = starts
        ? embedding(this.#positions, reshape(starts, [batch, 1]))
        : slice(this.#positions, [[start, start + length]]);
      return maybeDrop(add(embedding(this.#tokens, ids), positions), drop);
    });
    const states = [embedded];
    this.#blocks.forEach((block, i) => {
      const forward = (x: Tensor) => block.forward(x, { drop, cache: cache?.layer(i), observe });
      states.push(
        options.recompute ? recompute(forward, [states[i]], drop) : forward(states[i]),
      );
    });
    return states;
  }

  /** The last block's output, normalised, (B, T, E). */
  hidden(ids: Tensor, options: ForwardOptions = {}): Tensor {
    return scoped(() => this.#norm.forward(this.hiddenStates(ids, options).at(-1)!));
  }

  /** Scores of every next token, (B, T, V). Holds all of them: {@linkcode GPT2.loss} does not. */
  logits(ids: Tensor, options: ForwardOptions = {}): Tensor {
    return scoped(() => matmul(this.hidden(ids, options), this.#tokens, { transposeB: true }));
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
        return matmul(last, this.#tokens, { transposeB: true });
      })
    );
  }

  /** The mean cross-entropy in nats of `targets` (B, T), the tokens that follow `ids` (B, T). */
  loss(ids: Tensor, targets: Tensor, options: ForwardOptions = {}): Tensor {
    return scoped(() => {
      const hidden = reshape(this.hidden(ids, options), [ids.size, this.config.embedSize]);
      return linearCrossEntropy(hidden, this.#tokens, reshape(targets, [targets.size]));
    });
  }

  /** Frees the parameters. */
  dispose(): void {
    this.#parameters.dispose();
  }
}

/** x + attention(norm(x)), then x + mlp(norm(x)). */
class Block {
  readonly #norm1: LayerNorm;
  readonly #attention: SelfAttention;
  readonly #norm2: LayerNorm;
  readonly #mlp: MLP;

  constructor(p: Parameters, config: Required<GPT2Config>, kind: BlockKind) {
    this.#norm1 = new LayerNorm(p.at("ln_1"), config.embedSize);
    this.#attention = new SelfAttention(p.at("attn"), config, kind.attention);
    this.#norm2 = new LayerNorm(p.at("ln_2"), config.embedSize);
    this.#mlp = new MLP(p.at("mlp"), config, kind.gelu);
  }

  forward(x: Tensor, pass: Pass): Tensor {
    return scoped(() => {
      x = this.#attention.forward(this.#norm1.forward(x), x, pass);
      return this.#mlp.forward(this.#norm2.forward(x), x, pass.drop);
    });
  }
}

/** Causal self-attention over H heads. */
class SelfAttention {
  readonly #name: string;
  readonly #heads: number;
  readonly #pattern: AttentionPattern;
  readonly #query: Linear;
  readonly #key: Linear;
  readonly #value: Linear;
  readonly #output: Linear;

  constructor(p: Parameters, config: Required<GPT2Config>, pattern: AttentionPattern) {
    const { embedSize, heads, layers } = config;
    this.#name = p.name;
    this.#heads = heads;
    this.#pattern = pattern;
    this.#query = new Linear(p.at("q_proj"), embedSize, embedSize);
    this.#key = new Linear(p.at("k_proj"), embedSize, embedSize);
    this.#value = new Linear(p.at("v_proj"), embedSize, embedSize);
    this.#output = new Linear(p.at("o_proj"), embedSize, embedSize, { initial: residual(layers) });
  }

  forward(x: Tensor, stream: Tensor, { drop, cache, observe }: Pass): Tensor {
    const [batch, length, embedSize] = x.shape;
    const split = (y: Tensor) => reshape(y, [batch, length, this.#heads, embedSize / this.#heads]);
    const [query, keys, values] = [this.#query, this.#key, this.#value].map((map) =>
      split(map.forward(x))
    );
    const seen = cache?.append(keys, values) ?? { keys, values };
    observe?.(this.#pattern.weights(query, seen), this.#name);
    const mixed = reshape(this.#pattern.mix(query, seen), x.shape);
    return addTo(stream, this.#output, mixed, drop);
  }
}

/** Two linear layers with a GELU between them. */
class MLP {
  readonly #approximate: "tanh" | "none";
  readonly #up: Linear;
  readonly #down: Linear;

  constructor(p: Parameters, config: Required<GPT2Config>, approximate: "tanh" | "none") {
    const { embedSize, hiddenSize, layers } = config;
    this.#approximate = approximate;
    this.#up = new Linear(p.at("fc1"), embedSize, hiddenSize);
    this.#down = new Linear(p.at("fc2"), hiddenSize, embedSize, { initial: residual(layers) });
  }

  forward(x: Tensor, stream: Tensor, drop: Drop): Tensor {
    const hidden = gelu(this.#up.forward(x), { approximate: this.#approximate });
    return addTo(stream, this.#down, hidden, drop);
  }
}

/** What a forward pass hands to each block. */
interface Pass {
  readonly drop: Drop;
  readonly cache: LayerCache | undefined;
  readonly observe: AttentionObserver | undefined;
}

interface Drop {
  readonly p: number;
  readonly random: RandomState | undefined;
}

/** The two maps of a block that write into the residual stream start smaller, so that it does not grow. */
function residual(layers: number): { std: number } {
  return { std: 0.02 / Math.sqrt(2 * layers) };
}

/** stream + dropout(map(x)); in one kernel where nothing is dropped. */
function addTo(stream: Tensor, map: Linear, x: Tensor, drop: Drop): Tensor {
  if (!drop.random || !drop.p) return map.forward(x, stream);
  return add(stream, maybeDrop(map.forward(x), drop));
}

function maybeDrop(x: Tensor, { p, random }: Drop): Tensor {
  return random && p ? dropout(x, p, { random }) : x;
}
