/**
 * What has to be known of a family of models to read and write its files.
 *
 * @module
 */
import type { Module, ParameterOptions } from "../nn/mod.ts";
import type { Shape } from "../tensor/shape.ts";
import type { ConfigFields } from "./config_fields.ts";
import type { JsonObject } from "./json_file.ts";
import { shapeDevice } from "./shape_device.ts";
import type { Arrangement } from "./stored_tensor.ts";

/** Sizes that every configuration has. */
export interface Sizes {
  /** Number of ids of a language model. */
  readonly vocabSize?: number | undefined;
  /** Number of blocks. */
  readonly numHiddenLayers: number;
}

/** A model with a configuration. */
export interface Configured<C> extends Module {
  /** Its sizes. */
  readonly config: C;
}

/** A family of models as `transformers` stores it: C is its configuration with all that the files need, M the model. */
export interface Architecture<C, M extends Configured<C>> {
  /** `model_type` of its `config.json`. */
  readonly modelType: string;
  /** The class of `transformers` that takes the files, where it has one. */
  readonly className: string;
  /** The class that makes a model. */
  readonly model: new (config: C, options: ParameterOptions) => M;
  /** The configuration that a `config.json` gives. Throws a `FileFormatError` for what this library does not compute. */
  readConfig(fields: ConfigFields): C;
  /** The fields of `config.json` for a configuration. */
  configFields(config: C): JsonObject;
  /** How a parameter is arranged in the file; undefined: as in the model. */
  arrangement(name: string, config: C): Arrangement | undefined;
  /** Tensors that files may have besides: tables that models compute for themselves, tied matrices. */
  isIgnored(name: string, config: C): boolean;
  /** How many numbers its tables take that are no parameters, which a file could make any number. Default: none. */
  tableSize?(config: C): number;
  /** What some files have before the names of all tensors but the output matrix. */
  readonly prefix: string;
}

/** The shapes of a model's parameters by name, without memory for them. */
export function shapesOf<C, M extends Configured<C>>(
  { model: Model }: Architecture<C, M>,
  config: C,
): Map<string, Shape> {
  using model = new Model(config, { device: shapeDevice(), random: null });
  return new Map([...model.parameters()].map(([name, { shape }]) => [name, shape]));
}
