/**
 * SmolLM 3 (Bakouch et al. 2025, "SmolLM3: smol, multilingual, long-context reasoner"): LLaMA 3 in which every fourth
 * block has no rotary positions (NoPE, after Yang et al. 2025, "Rope to Nope and Back Again"). SmolLM 2 is a LLaMA.
 *
 * @module
 */
import type { ParameterOptions } from "../nn/mod.ts";
import {
  Decoder,
  type DecoderConfig,
  type RopeLayoutConfig,
  type SlidingConfig,
  windowOf,
  withDefaults,
  withLayerTypes,
} from "./decoder.ts";

/**
 * The configuration of a SmolLM 3, under the names of Hugging Face's `config.json`. By default, all attention is full.
 */
export interface SmolLM3Config extends DecoderConfig, RopeLayoutConfig, SlidingConfig {
  /** For each block, 1 if it has rotary positions and 0 if it has none. Default: 0 for every fourth block. */
  readonly noRopeLayers?: readonly number[];
}

/** SmolLM 3 of any size. */
export class SmolLM3 extends Decoder<Required<SmolLM3Config>> {
  /**
   * Creates a model with the initial values of {@linkcode Decoder}. Throws a `RangeError` for sizes that do not match.
   */
  constructor(config: SmolLM3Config, options?: ParameterOptions) {
    const { numHiddenLayers, ropeLayout: layout = "half-split" } = config;
    const { noRopeLayers = everyFourth(numHiddenLayers) } = config;
    if (noRopeLayers.length < numHiddenLayers) {
      throw new RangeError(
        `SmolLM3: expected ${numHiddenLayers} noRopeLayers, one a block, but got ${noRopeLayers.length}`,
      );
    }
    const filled = {
      ...withLayerTypes("SmolLM3", withDefaults("SmolLM3", config)),
      ...{ noRopeLayers, ropeLayout: layout },
    };
    const { ropeTheta: theta, ropeScaling: scaling } = filled;
    super(filled, options ?? {}, {
      rope: (layer) => noRopeLayers[layer] ? { theta, scaling, layout } : null,
      window: windowOf(filled),
    });
  }
}

/** 0 for every fourth block, 1 for the others. */
export function everyFourth(layers: number): number[] {
  return Array.from({ length: layers }, (_, layer) => Number((layer + 1) % 4 !== 0));
}
