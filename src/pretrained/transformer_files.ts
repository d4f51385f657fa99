/**
 * The encoder-decoder Transformer in Hugging Face's layout. `transformers` has no such class: the fields are this
 * library's, in the style of Hugging Face.
 *
 * @module
 */
import { Transformer, type TransformerConfig } from "../models/transformer.ts";
import type { Architecture } from "./architecture.ts";
import type { ConfigFields } from "./config_fields.ts";

/** The files of a translator. */
export const transformerFiles: Architecture<Required<TransformerConfig>, Transformer> = {
  modelType: "transformer",
  className: "Transformer",
  model: Transformer,
  prefix: "",

  readConfig(fields) {
    const dropout = fields.probability("dropout", 0);
    return {
      sourceVocabSize: fields.size("source_vocab_size"),
      targetVocabSize: fields.size("target_vocab_size"),
      maxPositionEmbeddings: fields.size("max_position_embeddings"),
      hiddenSize: fields.size("hidden_size"),
      intermediateSize: fields.size("intermediate_size"),
      numHiddenLayers: fields.size("num_hidden_layers"),
      numAttentionHeads: fields.size("num_attention_heads"),
      padTokenId: padTokenId(fields),
      norm: fields.oneOf("norm", "pre", "post", "branch"),
      encoderFeedForwardNorm: fields.oneOf("encoder_feed_forward_norm", "pre", "post", "branch"),
      activationFunction: fields.oneOf("activation_function", "gelu", "relu"),
      tieWordEmbeddings: fields.flag("tie_word_embeddings", false),
      dropout,
      attentionDropout: fields.probability("attention_dropout", dropout),
    };
  },

  configFields(config) {
    return {
      source_vocab_size: config.sourceVocabSize,
      target_vocab_size: config.targetVocabSize,
      max_position_embeddings: config.maxPositionEmbeddings,
      hidden_size: config.hiddenSize,
      intermediate_size: config.intermediateSize,
      num_hidden_layers: config.numHiddenLayers,
      num_attention_heads: config.numAttentionHeads,
      pad_token_id: config.padTokenId,
      norm: config.norm,
      encoder_feed_forward_norm: config.encoderFeedForwardNorm,
      activation_function: config.activationFunction,
      tie_word_embeddings: config.tieWordEmbeddings,
      dropout: config.dropout,
      attention_dropout: config.attentionDropout,
    };
  },

  arrangement: () => undefined,
  isIgnored: () => false,
  tableSize: ({ maxPositionEmbeddings, hiddenSize }) => maxPositionEmbeddings * hiddenSize,
};

function padTokenId(fields: ConfigFields): number {
  const id = fields.get("pad_token_id") ?? 0;
  if (Number.isSafeInteger(id) && (id as number) >= 0) return id as number;
  return fields.refuse("pad_token_id", "an id");
}
