/**
 * Layers: the modules that models are built from.
 *
 * @module
 */
import type { DType } from "../device/dtype.ts";
import { gelu, relu, reluSquared } from "../ops/activations.ts";
import { add, cast } from "../ops/elementwise.ts";
import { feedForward, type FeedForwardOptions } from "../ops/feed_forward.ts";
import { dropout } from "../ops/random.ts";
import { embedding } from "../ops/index.ts";
import { layerNorm, rmsNorm } from "../ops/norm.ts";
import { linear } from "../ops/matmul.ts";
import type { RandomState } from "../tensor/random.ts";
import { scoped } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  constant,
  createParameter,
  type Initializer,
  kaimingUniform,
  normal,
  ones,
  type ParameterOptions,
  uniform,
  zeros,
} from "./init.ts";
import { Module } from "./module.ts";

/** Options of {@linkcode Linear}. */
export interface LinearOptions extends ParameterOptions {
  /** Whether there is a bias, or its initializer. Default: uniform in +-1 / sqrt(inputs), as in PyTorch. */
  readonly bias?: boolean | Initializer | undefined;
  /** The initializer of the weight. Default: `kaimingUniform(Math.sqrt(5))`, as in PyTorch. */
  readonly init?: Initializer;
}

/** Adds something to the result of a {@linkcode Linear}. */
export interface LinearAdapter {
  /**
   * Returns `y` (..., outputs) plus the adapter's result for `x` (..., inputs); `y` itself while the adapter is
   * disabled.
   */
  addTo(y: Tensor, x: Tensor): Tensor;
}

/**
 * An affine map `y = x weight^T + bias`.
 *
 * @example
 * ```ts
 * import { CpuDevice, Linear, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using layer = new Linear(3, 2, { device });
 * using x = tensor([[1, 2, 3], [4, 5, 6]], { device });
 * assert.deepEqual(layer.forward(x).shape, [2, 2]);
 * ```
 */
export class Linear extends Module {
  /** (outputs, inputs) */
  readonly weight: Tensor;
  /** (outputs) */
  readonly bias: Tensor | undefined;
  /** The adapters whose results are added, in this order. Their parameters are not the layer's. */
  readonly adapters: Set<LinearAdapter> = new Set();

  /** Creates `weight` and `bias`. */
  constructor(inputs: number, outputs: number, options?: LinearOptions) {
    super();
    const { bias = true, init = kaimingUniform(Math.sqrt(5)) } = options ?? {};
    const bound = 1 / Math.sqrt(inputs);
    this.weight = createParameter([outputs, inputs], init, options ?? {});
    this.bias = bias === false
      ? undefined
      : createParameter([outputs], bias === true ? uniform(-bound, bound) : bias, options ?? {});
  }

  /** Maps (..., inputs) to (..., outputs). `residual` (..., outputs) is added in the same kernel. */
  forward(x: Tensor, residual?: Tensor): Tensor {
    const own = () => linear(x, this.weight, this.bias, { residual });
    if (this.adapters.size === 0) return own();
    return scoped(() => this.adapters.values().reduce((y, adapter) => adapter.addTo(y, x), own()));
  }
}

/** Options of {@linkcode Embedding}. */
export interface EmbeddingOptions extends ParameterOptions {
  /** The initializer of the weight. Default: a normal distribution of standard deviation 1, as in PyTorch. */
  readonly init?: Initializer;
}

/** A table with one vector per id. */
export class Embedding extends Module {
  /** (count, size) */
  readonly weight: Tensor;
  /** The type of the vectors; the table may be of another one that takes less memory (see `quantize`). */
  readonly dtype: DType;

  /** Creates `weight` with `count` vectors of length `size`. */
  constructor(count: number, size: number, options?: EmbeddingOptions) {
    super();
    this.dtype = options?.dtype ?? "f32";
    this.weight = createParameter([count, size], options?.init ?? normal(), options ?? {});
  }

  /** Maps ids (...) of `i32` to their vectors (..., size). */
  forward(ids: Tensor): Tensor {
    return scoped(() => cast(embedding(this.weight, ids), this.dtype));
  }
}

/** Options of {@linkcode LayerNorm} and {@linkcode RMSNorm}. */
export interface NormLayerOptions extends Omit<ParameterOptions, "random"> {
  /** Added to the variance or mean square. Default: 1e-5. */
  readonly eps?: number;
}

/** Options of {@linkcode RMSNorm}. */
export interface RMSNormLayerOptions extends NormLayerOptions {
  /** Added to the weight: 1 for Gemma's files. Default: 0. */
  readonly offset?: number | undefined;
}

/** Layer normalisation over the last axis (Ba et al. 2016, https://arxiv.org/abs/1607.06450). */
export class LayerNorm extends Module {
  /** (size), initialised to 1. */
  readonly weight: Tensor;
  /** (size), initialised to 0. */
  readonly bias: Tensor;
  /** Added to the variance. */
  readonly eps: number;

  /** Creates `weight` and `bias`. */
  constructor(size: number, options?: NormLayerOptions) {
    super();
    this.weight = createParameter([size], ones, options ?? {});
    this.bias = createParameter([size], zeros, options ?? {});
    this.eps = options?.eps ?? 1e-5;
  }

  /** Maps (..., size) to the same shape. */
  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, { eps: this.eps });
  }
}

/** Root mean square normalisation over the last axis (Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467). */
export class RMSNorm extends Module {
  /** (size), initialised to 1 - `offset`. */
  readonly weight: Tensor;
  /** Added to the mean square. */
  readonly eps: number;
  /** Added to the weight. */
  readonly offset: number;

  /** Creates `weight`. */
  constructor(size: number, options?: RMSNormLayerOptions) {
    super();
    this.eps = options?.eps ?? 1e-5;
    this.offset = options?.offset ?? 0;
    this.weight = createParameter([size], constant(1 - this.offset), options ?? {});
  }

  /** Maps (..., size) to the same shape. */
  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight, { eps: this.eps, offset: this.offset });
  }
}

/** Sets elements to 0 with probability `p` and scales the others by 1 / (1 - p), if it is given a random stream. */
export class Dropout extends Module {
  /** Creates a layer that drops with probability `p`, in [0, 1). */
  constructor(readonly p: number) {
    super();
  }

  /** Keeps the shape. Returns x itself without `random`, as in evaluation. */
  forward(x: Tensor, random: RandomState | undefined): Tensor {
    return random && this.p ? dropout(x, this.p, { random }) : x;
  }
}

/** Returns `residual + dropout(layer())`. Without dropout it is `layer(residual)`, which adds in the same kernel. */
export function addTo(
  residual: Tensor,
  layer: (residual?: Tensor) => Tensor,
  drop: Dropout,
  random: RandomState | undefined,
): Tensor {
  if (random && drop.p) return add(residual, drop.forward(layer(), random));
  return layer(residual);
}

/** `feedForward` of two layers; as separate operations if one of them has adapters. */
export function feedForwardOf(
  x: Tensor,
  up: Linear,
  down: Linear,
  options: FeedForwardOptions,
): Tensor {
  if (up.adapters.size + down.adapters.size === 0) return feedForward(x, up, down, options);
  const { activation, residual } = options;
  return scoped(() => down.forward(ACTIVATIONS[activation](up.forward(x)), residual));
}

const ACTIVATIONS: Readonly<Record<FeedForwardOptions["activation"], (x: Tensor) => Tensor>> = {
  gelu,
  geluTanh: (x) => gelu(x, { approximate: "tanh" }),
  relu,
  reluSquared,
};
