/**
 * Builds a model from files of weights in any format: their contents are first checked against the model's shapes, then
 * copied to the device one tensor at a time.
 *
 * @module
 */
import { FileFormatError } from "../io/errors.ts";
import type { ParameterOptions } from "../nn/init.ts";
import { defaultDevice } from "../device/default.ts";
import type { DType } from "../device/dtype.ts";
import { replaceParameters } from "../nn/module.ts";
import { fits, type MatrixType, quantisable } from "../nn/quantize.ts";
import { assignFloats, checkStateDict, checkWithinHalf } from "../nn/state_dict.ts";
import type { Shape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { shapeDevice } from "./shape_device.ts";
import { type Configured, shapesOf, type Sizes } from "./architecture.ts";
import type { AnyArchitecture } from "./model_kinds.ts";
import { type Arrangement, fromStored, storedShape } from "./stored_tensor.ts";

/** Files of weights, open for reading. */
export interface StoredWeights {
  /** The path of the file or of its index, for messages. */
  readonly name: string;
  /** The path of the configuration, for messages. */
  readonly configName: string;
  /** All tensors. */
  readonly tensors: ReadonlyMap<string, { readonly shape: Shape; readonly count: number }>;
  /** Reads one tensor as float32. */
  readFloat32(name: string): Promise<Float32Array>;
  /** Returns the type of a tensor, if it is one that matrices can have in memory. */
  matrixType(name: string): MatrixType | undefined;
}

/** How a family's tensors are named and arranged in files of some format. */
export interface WeightLayout {
  /** Returns the name of a parameter in the file. */
  nameInFile(parameter: string): string;
  /** Returns how a parameter is arranged in the file; undefined: as in the model. */
  arrangement(parameter: string, config: Sizes): Arrangement | undefined;
  /** Whether files may have this tensor besides the parameters. */
  isIgnored(nameInFile: string, config: Sizes): boolean;
}

/** Options of {@linkcode readWeights}. */
export interface ReadOptions extends Pick<ParameterOptions, "device" | "dtype"> {
  /** The number of ids of the model, the file's or more. */
  readonly vocabSize?: number | undefined;
  /** The type of matrices; see `loadModel`. */
  readonly matrices?: "stored" | MatrixType | undefined;
}

/** The number of elements that a model may compute beyond those in its files. */
const SPARE_NUMBERS = 1 << 20;
/** Writes to a GPU are queued in memory until something is submitted; they are flushed after this many bytes. */
const WRITES_UNSENT = 256 * 2 ** 20;

/**
 * Builds the model of a configuration with the weights of files.
 *
 * @throws {FileFormatError} where the configuration makes no model, or asks for more than the files could hold
 * @throws {TypeError} that lists the tensors that are missing, unknown or of another shape
 */
export async function readWeights(
  architecture: AnyArchitecture,
  layout: WeightLayout,
  files: StoredWeights,
  config: Sizes,
  options: ReadOptions,
): Promise<Configured<Sizes>> {
  const { dtype, vocabSize, matrices: matrixType } = options;
  const device = options.device ?? defaultDevice();
  const least = config.vocabSize ?? Infinity;
  if (vocabSize !== undefined && !(Number.isSafeInteger(vocabSize) && vocabSize >= least)) {
    throw new RangeError(
      `loadModel: expected a vocabSize of ${least} or more but got ${vocabSize}`,
    );
  }
  const sizes = vocabSize === undefined ? config : { ...config, vocabSize };
  // No memory is allocated before the files are known to hold all that the configuration asks for.
  const shapes = checkTensors(architecture, layout, config, files);
  // If matrices have a smaller type, there may not be memory for all of them in f32.
  const start = { device: matrixType ? shapeDevice() : device, dtype, random: null };
  const model = new architecture.model(sizes, start);
  const matrices = quantisable(model);
  const typeOf = (parameter: Tensor, name: string): DType => {
    const type = matrixType === "stored" ? files.matrixType(layout.nameInFile(name)) : matrixType;
    if (!type || !matrices.has(parameter) || !fits(parameter, type)) return parameter.dtype;
    const isMissing = type === "f16" && !device.dtypes.has("f16");
    return matrixType === "stored" && isMissing ? parameter.dtype : type;
  };
  try {
    let unsent = 0;
    const fill = async (parameter: Tensor, name: string): Promise<Tensor | undefined> => {
      const read = await files.readFloat32(layout.nameInFile(name));
      const values = fromStored(read, shapes.get(name)!, layout.arrangement(name, config));
      // A vocabulary larger than the file's has more rows.
      const all = values.length < parameter.size
        ? withMeanRows(values, parameter.shape[1]!, parameter.size)
        : values;
      const made = matrixType
        ? Tensor.empty(device, parameter.shape, typeOf(parameter, name))
        : undefined;
      if (matrixType === "f16" && made?.dtype === "f16") checkWithinHalf("loadModel", name, all);
      assignFloats(made ?? parameter, all);
      unsent += all.byteLength;
      if (unsent < WRITES_UNSENT) return made;
      await device.synchronize();
      unsent = 0;
      return made;
    };
    await replaceParameters(model, fill);
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** Returns the shapes of the model's parameters; throws if one is missing, unknown or of another shape in the files. */
function checkTensors(
  architecture: AnyArchitecture,
  { nameInFile, arrangement, isIgnored }: WeightLayout,
  config: Sizes,
  files: StoredWeights,
): Map<string, Shape> {
  if (config.numHiddenLayers > files.tensors.size) {
    throw new FileFormatError(
      `expected the tensors of ${config.numHiddenLayers} layers, as "config.json" has it, but got ${files.tensors.size}`,
      { file: files.name },
    );
  }
  checkTables(architecture.tableSize?.(config) ?? 0, files);
  const shapes = checkedShapes(architecture, config, files);
  const wanted = new Map<string, { shape: Shape }>();
  for (const [name, shape] of shapes) {
    wanted.set(nameInFile(name), { shape: storedShape(shape, arrangement(name, config)) });
  }
  const given = new Map(files.tensors);
  for (const name of files.tensors.keys()) {
    if (!wanted.has(name) && isIgnored(name, config)) given.delete(name);
  }
  checkStateDict(wanted, given, files.name);
  return shapes;
}

/** A table of positions is computed; a few digits in a file could ask for any amount of memory. */
function checkTables(size: number, { tensors, configName }: StoredWeights): void {
  const stored = tensors.values().reduce((sum, { count }) => sum + count, 0);
  if (size <= 4 * stored + SPARE_NUMBERS) return;
  throw new FileFormatError(
    `expected "max_position_embeddings" of ${stored} numbers, as the weights have, but got ${size}`,
    { file: configName },
  );
}

function checkedShapes(
  architecture: AnyArchitecture,
  config: Sizes,
  { configName }: StoredWeights,
): Map<string, Shape> {
  try {
    return shapesOf(architecture, config);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new FileFormatError(
      `expected "model_type" and sizes that make a model: ${cause.message}`,
      {
        file: configName,
        cause,
      },
    );
  }
}

/** Returns the rows of a matrix, followed by copies of their mean up to `size` elements. */
function withMeanRows(values: Float32Array, width: number, size: number): Float32Array {
  const sums = new Float64Array(width);
  for (let i = 0; i < values.length; i++) sums[i % width]! += values[i]!;
  const rows = values.length / width;
  const mean = Float32Array.from(sums, (sum) => sum / rows);
  const longer = new Float32Array(size);
  longer.set(values);
  for (let at = values.length; at < size; at += width) longer.set(mean, at);
  return longer;
}
