/**
 * A model that has made up its mind.
 *
 * @module
 */
import type { Device } from "../../src/device/device.ts";
import { GPT2, type GPT2Config } from "../../src/models/gpt2.ts";
import { assign } from "../../src/tensor/create.ts";
import { noise } from "../ops/row_devices.ts";

/** A small GPT-2 whose weights are large, so that rounding decides nothing: the same on every device. */
export function sharpModel(device: Device, config: Partial<GPT2Config> = {}): GPT2 {
  const sizes = {
    vocabSize: 40,
    maxPositionEmbeddings: 24,
    hiddenSize: 16,
    numHiddenLayers: 2,
    numAttentionHeads: 2,
  };
  const model = new GPT2({ ...sizes, ...config }, { device });
  let seed = 1;
  for (const [name, parameter] of model.parameters()) {
    if (/ln_|bias/.test(name)) continue;
    assign(parameter, noise(parameter.size, seed++, 0.6));
  }
  return model;
}
