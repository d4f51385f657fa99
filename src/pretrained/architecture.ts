/**
 * What has to be known of a family of models to read and write its files.
 *
 * @module
 */
import type { ParameterOptions } from "../nn/parameters.ts";
import type { ConfigFields } from "./config_fields.ts";
import type { JsonObject } from "./json_file.ts";
import type { StoredTensor } from "./stored_tensor.ts";

/** Sizes that every configuration has. */
export interface CommonSizes {
  /** Number of ids. */
  readonly vocabSize: number;
  /** Number of blocks. */
  readonly layers: number;
}

/** A family of models as `transformers` stores it: C is a configuration with all that the files need, M a model. */
export interface Architecture<C extends CommonSizes, M> {
  /** `model_type` of its `config.json`. */
  readonly modelType: string;
  /** The class of `transformers` that takes the files. */
  readonly className: string;
  /** The configuration that a `config.json` gives. Throws a `FileFormatError` for what this library does not compute. */
  readConfig(fields: ConfigFields): C;
  /** The fields of `config.json` for a configuration. */
  configFields(config: C): JsonObject;
  /** The tensors of the file. */
  tensors(config: C): StoredTensor[];
  /** Tensors that files may have besides: tables that models compute for themselves, tied matrices. */
  isIgnored(name: string, config: C): boolean;
  /** What some files have before the names of all tensors but the output matrix. */
  readonly prefix: string;
  /** Makes a model. */
  create(config: C, options: ParameterOptions): M;
}
