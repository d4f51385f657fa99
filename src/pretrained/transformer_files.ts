/**
 * The encoder-decoder Transformer, which `transformers` does not have.
 *
 * @module
 */
import { type NormPlace, Transformer, type TransformerConfig } from "../models/transformer.ts";
import type { Architecture } from "./architecture.ts";

const NORM_PLACES: readonly NormPlace[] = ["pre", "post", "branch"];

/** Of positions, whose table of sinusoids is computed when a model is made. */
const MAX_POSITIONS = 2 ** 16;

/** The files of the Transformer. */
export const transformerFiles: Architecture<Required<TransformerConfig>, Transformer> = {
  modelType: "dinograd_transformer",
  model: Transformer,
  prefix: "",

  readConfig(fields) {
    const norm = fields.choice("norm", NORM_PLACES);
    return {
      sourceVocabSize: fields.size("src_vocab_size"),
      targetVocabSize: fields.size("tgt_vocab_size"),
      hiddenSize: fields.size("hidden_size"),
      numHiddenLayers: fields.size("num_hidden_layers"),
      numAttentionHeads: fields.size("num_attention_heads"),
      intermediateSize: fields.size("intermediate_size"),
      maxPositionEmbeddings: fields.size("max_position_embeddings", undefined, MAX_POSITIONS),
      padTokenId: fields.id("pad_token_id"),
      norm,
      encoderFeedForwardNorm: fields.choice("encoder_feed_forward_norm", NORM_PLACES, norm),
      activationFunction: fields.choice("activation_function", ["gelu", "relu"]),
      tieWordEmbeddings: fields.flag("tie_word_embeddings", false),
      dropout: fields.probability("dropout", 0),
    };
  },

  configFields(config) {
    return {
      src_vocab_size: config.sourceVocabSize,
      tgt_vocab_size: config.targetVocabSize,
      hidden_size: config.hiddenSize,
      num_hidden_layers: config.numHiddenLayers,
      num_attention_heads: config.numAttentionHeads,
      intermediate_size: config.intermediateSize,
      max_position_embeddings: config.maxPositionEmbeddings,
      pad_token_id: config.padTokenId,
      norm: config.norm,
      encoder_feed_forward_norm: config.encoderFeedForwardNorm,
      activation_function: config.activationFunction,
      tie_word_embeddings: config.tieWordEmbeddings,
      dropout: config.dropout,
    };
  },

  arrangement: () => undefined,
  isIgnored: () => false,
};
