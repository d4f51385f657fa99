/**
 * All formats, in the order in which they are tried.
 *
 * @module
 */
import type { Format } from "./format.ts";
import { jsonl, pairs, parquet } from "./formats/corpora.ts";
import { events } from "./formats/events.ts";
import { hub } from "./formats/hub.ts";
import { ggufModel, hubListing, modelFolder } from "./formats/models.ts";
import { checkpoint, gguf, npy, safetensors } from "./formats/tensors.ts";
import { llama2c, llama2cVocabulary, llmc } from "./formats/plain_bins.ts";
import { tokenizerJson, vocabulary } from "./formats/tokenizers.ts";

/** The formats by their order. */
export const formats: readonly Format[] = [
  ...[safetensors, gguf, checkpoint, npy, llmc, llama2c, llama2cVocabulary],
  ...[tokenizerJson, vocabulary],
  ...[parquet, jsonl, pairs, modelFolder, ggufModel, hubListing, hub, events],
];
