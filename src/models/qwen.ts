/**
 * Qwen 2.5 (Qwen Team 2024, "Qwen2.5 Technical Report"), which is LLaMA 3 with biases of queries, keys and values, and Qwen 3
 * (Qwen Team 2025, "Qwen3 Technical Report"), which has norms of queries and keys instead.
 *
 * @module
 */
import type { ParameterOptions } from "../nn/mod.ts";
import {
  Decoder,
  type DecoderConfig,
  type DecoderTraits,
  type FilledConfig,
  type SlidingConfig,
  windowOf,
  withDefaults,
  withLayerTypes,
} from "./decoder.ts";

/** The sizes of a Qwen 2, 2.5 or 3, by the names of Hugging Face's `config.json`; by default all attention is full. */
export interface QwenConfig extends DecoderConfig, SlidingConfig {}

abstract class Qwen extends Decoder<FilledConfig & Required<SlidingConfig>> {
  protected constructor(
    name: string,
    config: QwenConfig,
    options: ParameterOptions | undefined,
    traits: DecoderTraits,
  ) {
    const filled = withLayerTypes(name, withDefaults(name, config));
    super(filled, options ?? {}, { ...traits, window: windowOf(filled) });
  }
}

/** Qwen 2 and 2.5 of any size. */
export class Qwen2 extends Qwen {
  /** A model with initial values as {@linkcode Decoder} has them. Throws a `RangeError` for sizes that do not fit. */
  constructor(config: QwenConfig, options?: ParameterOptions) {
    super("Qwen2", config, options, { qkvBias: true });
  }
}

/** Qwen 3 of any size, without experts. */
export class Qwen3 extends Qwen {
  /** A model with initial values as {@linkcode Decoder} has them. Throws a `RangeError` for sizes that do not fit. */
  constructor(config: QwenConfig, options?: ParameterOptions) {
    super("Qwen3", config, options, { qkNorm: true });
  }
}
