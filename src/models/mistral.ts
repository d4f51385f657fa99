/**
 * Mistral (Jiang et al. 2023, "Mistral 7B"): LLaMA 2 with sliding attention over the last `slidingWindow` tokens.
 * Versions since 0.2 have no window.
 *
 * @module
 */
import type { ParameterOptions } from "../nn/mod.ts";
import {
  Decoder,
  type DecoderConfig,
  type RopeLayoutConfig,
  type SlidingConfig,
  withDefaults,
} from "./decoder.ts";

/** The configuration of a Mistral, under the names of Hugging Face's `config.json`. */
export interface MistralConfig
  extends DecoderConfig, RopeLayoutConfig, Pick<SlidingConfig, "slidingWindow"> {}

/** Mistral of any size. */
export class Mistral extends Decoder<Required<MistralConfig>> {
  /**
   * Creates a model with the initial values of {@linkcode Decoder}. Throws a `RangeError` for sizes that do not match.
   */
  constructor(config: MistralConfig, options?: ParameterOptions) {
    const { slidingWindow = null, ropeLayout: layout = "half-split" } = config;
    const filled = { ...withDefaults("Mistral", config), slidingWindow, ropeLayout: layout };
    const { ropeTheta: theta, ropeScaling: scaling } = filled;
    super(filled, options ?? {}, {
      rope: () => ({ theta, scaling, layout }),
      window: () => slidingWindow ?? undefined,
    });
  }
}
