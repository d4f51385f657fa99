/**
 * GPT-2 as `transformers` stores it: queries, keys and values in one tensor, matrices transposed (its `Conv1D`
 * has weights (in, out)).
 *
 * @module
 */
import { GPT2, type GPT2Config } from "../models/gpt2.ts";
import type { Architecture } from "./architecture.ts";
import type { StoredTensor } from "./stored_tensor.ts";

/** The files of GPT-2. */
export const gpt2Files: Architecture<Required<GPT2Config>, GPT2> = {
  modelType: "gpt2",
  className: "GPT2LMHeadModel",
  prefix: "transformer.",

  readConfig(fields) {
    fields.expect("activation_function", "gelu_new", "gelu_pytorch_tanh");
    fields.expect("layer_norm_epsilon", 1e-5);
    fields.expect("scale_attn_weights", true);
    fields.expect("scale_attn_by_inverse_layer_idx", false);
    fields.expect("add_cross_attention", false);
    fields.expect("tie_word_embeddings", true);
    const embedSize = fields.size("n_embd");
    return {
      vocabSize: fields.size("vocab_size"),
      contextSize: fields.size("n_positions"),
      embedSize,
      layers: fields.size("n_layer"),
      heads: fields.size("n_head"),
      hiddenSize: fields.size("n_inner", 4 * embedSize),
      dropout: fields.probability("resid_pdrop", 0.1),
    };
  },

  configFields({ vocabSize, contextSize, embedSize, layers, heads, hiddenSize, dropout }) {
    return {
      vocab_size: vocabSize,
      n_positions: contextSize,
      n_ctx: contextSize,
      n_embd: embedSize,
      n_layer: layers,
      n_head: heads,
      n_inner: hiddenSize === 4 * embedSize ? null : hiddenSize,
      activation_function: "gelu_new",
      layer_norm_epsilon: 1e-5,
      initializer_range: 0.02,
      resid_pdrop: dropout,
      embd_pdrop: dropout,
      attn_pdrop: 0, // our attention drops its output, never its weights
      scale_attn_weights: true,
      tie_word_embeddings: true,
      bos_token_id: null, // the class has GPT-2's own ids for defaults
      eos_token_id: null,
    };
  },

  tensors({ vocabSize, contextSize, embedSize, layers, hiddenSize }) {
    const plain = (name: string, ...shape: number[]): StoredTensor => {
      return { name, shape, parameters: [name] };
    };
    const norm = (name: string): StoredTensor[] => [
      plain(`${name}.weight`, embedSize),
      plain(`${name}.bias`, embedSize),
    ];
    const map = (name: string, inputs: number, outputs: number, ours: string[]): StoredTensor[] => [
      {
        name: `${name}.weight`,
        shape: [inputs, outputs],
        parameters: ours.map((one) => `${one}.weight`),
        arranged: "transposed",
      },
      { name: `${name}.bias`, shape: [outputs], parameters: ours.map((one) => `${one}.bias`) },
    ];
    const block = (h: string): StoredTensor[] => [
      ...norm(`${h}.ln_1`),
      ...map(
        `${h}.attn.c_attn`,
        embedSize,
        3 * embedSize,
        ["q_proj", "k_proj", "v_proj"].map((name) => `${h}.attn.${name}`),
      ),
      ...map(`${h}.attn.c_proj`, embedSize, embedSize, [`${h}.attn.o_proj`]),
      ...norm(`${h}.ln_2`),
      ...map(`${h}.mlp.c_fc`, embedSize, hiddenSize, [`${h}.mlp.fc1`]),
      ...map(`${h}.mlp.c_proj`, hiddenSize, embedSize, [`${h}.mlp.fc2`]),
    ];
    return [
      plain("wte.weight", vocabSize, embedSize),
      plain("wpe.weight", contextSize, embedSize),
      ...Array.from({ length: layers }, (_, i) => block(`h.${i}`)).flat(),
      ...norm("ln_f"),
    ];
  },

  isIgnored(name) {
    // Causal masks, which old files carry, and the embedding under its second name.
    return /^h\.\d+\.attn\.(bias|masked_bias)$/.test(name) || name === "lm_head.weight";
  },

  create: (config, options) => new GPT2(config, options),
};
