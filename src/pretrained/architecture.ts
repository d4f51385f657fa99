/**
 * The description of a family of models that is needed to read and write its files.
 *
 * @module
 */
import type { Module, ParameterOptions } from "../nn/mod.ts";
import type { Shape } from "../tensor/shape.ts";
import type { ConfigFields } from "./config_fields.ts";
import type { JsonObject } from "./json_file.ts";
import { shapeDevice } from "./shape_device.ts";
import type { Arrangement } from "./stored_tensor.ts";

/** The sizes that every configuration has. */
export interface Sizes {
  /** The number of ids of a language model. */
  readonly vocabSize?: number | undefined;
  /** The number of blocks. */
  readonly numHiddenLayers: number;
}

/** A model with a configuration. */
export interface Configured<C> extends Module {
  /** The configuration. */
  readonly config: C;
}

/** A family of models as `transformers` stores it: C is its configuration with all that the files need, M the model. */
export interface Architecture<C, M extends Configured<C>> {
  /** The `model_type` of its `config.json`. */
  readonly modelType: string;
  /** The class of `transformers` that loads the files, if there is one. */
  readonly className: string;
  /** The class of the model. */
  readonly model: new (config: C, options: ParameterOptions) => M;
  /**
   * Returns the configuration in a `config.json`. Throws a `FileFormatError` for what this library does not compute.
   */
  readConfig(fields: ConfigFields): C;
  /** Returns the fields of `config.json` for a configuration. */
  configFields(config: C): JsonObject;
  /** Returns how a parameter is arranged in the file; undefined: as in the model. */
  arrangement(name: string, config: C): Arrangement | undefined;
  /**
   * Whether files may have this tensor besides the parameters: tables that models compute themselves, tied matrices.
   */
  isIgnored(name: string, config: C): boolean;
  /**
   * Returns how many numbers the model's tables take that are not parameters: a file could ask for any number. Default:
   * none.
   */
  tableSize?(config: C): number;
  /** What some files put before the names of all tensors but the output matrix. */
  readonly prefix: string;
}

/** Returns the shapes of a model's parameters by name, without allocating memory for them. */
export function shapesOf<C, M extends Configured<C>>(
  { model: Model }: Architecture<C, M>,
  config: C,
): Map<string, Shape> {
  using model = new Model(config, { device: shapeDevice(), random: null });
  return new Map([...model.parameters()].map(([name, { shape }]) => [name, shape]));
}
