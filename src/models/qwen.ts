/**
 * Qwen 2.5 (Qwen Team 2024, "Qwen2.5 Technical Report"): LLaMA 3 with biases of queries, keys and values; and Qwen 3
 * (Qwen Team 2025, "Qwen3 Technical Report"), which has norms of queries and keys instead.
 *
 * @module
 */
import type { ParameterOptions } from "../nn/mod.ts";
import {
  Decoder,
  type DecoderConfig,
  type SlidingConfig,
  windowOf,
  withDefaults,
  withLayerTypes,
} from "./decoder.ts";

/**
 * The configuration of a Qwen 2, 2.5 or 3, under the names of Hugging Face's `config.json`. By default, all attention
 * is full.
 */
export interface QwenConfig extends DecoderConfig, SlidingConfig {}

/** Qwen 2 and 2.5 of any size. */
export class Qwen2 extends Decoder<Required<QwenConfig>> {
  /**
   * Creates a model with the initial values of {@linkcode Decoder}. Throws a `RangeError` for sizes that do not match.
   */
  constructor(config: QwenConfig, options?: ParameterOptions) {
    const filled = withLayerTypes("Qwen2", withDefaults("Qwen2", config));
    super(filled, options ?? {}, { qkvBias: true, window: windowOf(filled) });
  }
}

/** Qwen 3 of any size, dense models only. */
export class Qwen3 extends Decoder<Required<QwenConfig>> {
  /**
   * Creates a model with the initial values of {@linkcode Decoder}. Throws a `RangeError` for sizes that do not match.
   */
  constructor(config: QwenConfig, options?: ParameterOptions) {
    const filled = withLayerTypes("Qwen3", withDefaults("Qwen3", config));
    super(filled, options ?? {}, { qkNorm: true, window: windowOf(filled) });
  }
}
