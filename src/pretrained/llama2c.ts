/**
 * LLaMA models in llama2.c's files.
 *
 * @module
 */
import { Llama2cFile, type Llama2cVersion, writeLlama2c } from "../io/llama2c_bin.ts";
import { LLaMA, type LLaMAConfig } from "../models/llama.ts";
import type { ParameterOptions } from "../nn/init.ts";
import { assignFloats } from "../nn/state_dict.ts";
import { toStored } from "./stored_tensor.ts";

/** Maps llama2.c's names of the parameters of a block to ours. */
const BLOCK: Readonly<Record<string, string>> = {
  "attention_norm": "input_layernorm",
  "attention.wq": "self_attn.q_proj",
  "attention.wk": "self_attn.k_proj",
  "attention.wv": "self_attn.v_proj",
  "attention.wo": "self_attn.o_proj",
  "ffn_norm": "post_attention_layernorm",
  "feed_forward.w1": "mlp.gate_proj",
  "feed_forward.w2": "mlp.down_proj",
  "feed_forward.w3": "mlp.up_proj",
};
const WHOLE: Readonly<Record<string, string>> = {
  "tok_embeddings.weight": "model.embed_tokens.weight",
  "norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};

/**
 * Loads a LLaMA from a llama2.c model file (such as `stories15M.bin`) of version 0 or 1, one tensor in memory at a
 * time. Needs `--allow-read`.
 *
 * @throws {FileFormatError} where it is foreign, of version 2, or not as long as its sizes say
 */
export async function loadLlama2c(
  path: string | URL,
  options?: Pick<ParameterOptions, "device" | "dtype">,
): Promise<LLaMA> {
  using file = await Llama2cFile.open(path);
  const { config } = file;
  const model = new LLaMA({
    vocabSize: config.vocabSize,
    maxPositionEmbeddings: config.seqLen,
    hiddenSize: config.dim,
    intermediateSize: config.hiddenDim,
    numHiddenLayers: config.layers,
    numAttentionHeads: config.heads,
    numKeyValueHeads: config.kvHeads,
    ropeLayout: "interleaved",
    tieWordEmbeddings: config.sharedClassifier,
  }, { device: options?.device, dtype: options?.dtype, random: null });
  try {
    const parameters = model.parameters();
    for (const name of file.tensors.keys()) {
      const ours = ourName(name);
      if (ours === undefined) continue; // the tables of sines, which the model computes
      assignFloats(parameters.get(ours)!, await file.read(name));
    }
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** Options of {@linkcode saveLlama2c}. */
export interface SaveLlama2cOptions {
  /** The version of the format. Default: 0, which `run.c` reads. */
  readonly version?: Llama2cVersion;
}

/**
 * Saves a LLaMA as a llama2.c model file in float32, one tensor in memory at a time. The file appears whole or not at
 * all. Needs `--allow-read` and `--allow-write` for its folder.
 *
 * @throws {RangeError} for a model whose rotary base, norm or size of heads llama2.c has not: they are not in the file
 * @throws {FileWriteError} where the disk is full or the folder is not there
 *
 * @example
 * ```ts
 * import { CpuDevice, LLaMA, loadLlama2c, saveLlama2c } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const config = { vocabSize: 10, maxPositionEmbeddings: 8, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const path = await Deno.makeTempFile({ suffix: ".bin" });
 * await saveLlama2c(new LLaMA(config, { device }), path);
 * const model = await loadLlama2c(path, { device });
 * assert.equal(model.config.maxPositionEmbeddings, 8);
 * await Deno.remove(path);
 * ```
 */
export async function saveLlama2c(
  model: LLaMA,
  path: string | URL,
  options?: SaveLlama2cOptions,
): Promise<void> {
  const { config } = model;
  checkFixed(config);
  const parameters = model.parameters();
  const sizes = {
    dim: config.hiddenSize,
    hiddenDim: config.intermediateSize,
    layers: config.numHiddenLayers,
    heads: config.numAttentionHeads,
    kvHeads: config.numKeyValueHeads,
    vocabSize: config.vocabSize,
    seqLen: config.maxPositionEmbeddings,
    sharedClassifier: config.tieWordEmbeddings,
  };
  await writeLlama2c(path, sizes, options?.version ?? 0, async ({ name, shape }) => {
    const ours = ourName(name)!;
    const values = new Float32Array(await parameters.get(ours)!.data());
    const heads = config.ropeLayout === "interleaved" ? undefined : rotatedHeads(ours, config);
    // llama2.c has interleaved rotary pairs, this model half-split ones.
    return heads === undefined ? values : toStored(values, shape, { interleavedHeads: heads });
  });
}

/** Returns our name of a llama2.c tensor; undefined if it is not a parameter. */
function ourName(name: string): string | undefined {
  const [, layer, part] = /^layers\.(\d+)\.(.+)\.weight$/.exec(name) ?? [];
  return layer === undefined ? WHOLE[name] : `model.layers.${layer}.${BLOCK[part!]}.weight`;
}

/** Returns the number of heads in the rows of a parameter, if rotary positions apply to it. */
function rotatedHeads(
  name: string,
  { numAttentionHeads, numKeyValueHeads }: Required<LLaMAConfig>,
): number | undefined {
  if (name.endsWith("q_proj.weight")) return numAttentionHeads;
  return name.endsWith("k_proj.weight") ? numKeyValueHeads : undefined;
}

/** Throws unless the settings that are not in the file are those of llama2.c. */
function checkFixed(config: Required<LLaMAConfig>): void {
  const headDim = config.hiddenSize / config.numAttentionHeads;
  const fixed = { ropeTheta: 10000, ropeScaling: null, rmsNormEps: 1e-5, headDim } as const;
  for (const [name, value] of Object.entries(fixed)) {
    const found = config[name as keyof typeof fixed];
    if (found === value) continue;
    throw new RangeError(
      `saveLlama2c: expected a ${name} of ${value} but got ${JSON.stringify(found)}`,
    );
  }
}
