/**
 * The parameters of a model, by name. A model's constructor creates each one at its path, which is the name
 * that files use, so that reading a checkpoint needs no renaming.
 *
 * @module
 */
import { defaultDevice } from "../device/default.ts";
import type { Device } from "../device/device.ts";
import type { DType } from "../device/dtype.ts";
import { constant } from "../tensor/create.ts";
import { defaultRandom, type RandomState } from "../tensor/random.ts";
import { formatShape, sameShape, type Shape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { randn } from "../ops/random.ts";

/** Where parameters live and how their first values are drawn. */
export interface ParameterOptions {
  /** The device; default: the one opened first. */
  readonly device?: Device;
  /** `f32`, or `f16` for mixed precision. Default: `f32`. */
  readonly dtype?: DType;
  /**
   * The stream that initial weights are drawn from; `null` leaves them 0, for those that are read from a file. Default: the
   * shared one (see `manualSeed`).
   */
  readonly random?: RandomState | null;
}

/** How the first values of a parameter are made: all equal, or drawn from a normal distribution. */
export type Initial = { readonly value: number } | { readonly std: number };

/** Named parameters under construction; `at` gives the part of them under a prefix. */
export class Parameters {
  /** The device they live on. */
  readonly device: Device;
  /** Their element type. */
  readonly dtype: DType;
  readonly #random: RandomState | null;
  readonly #all: Map<string, Tensor>;
  readonly #prefix: string;

  /** No parameters yet. */
  constructor(
    options: ParameterOptions = {},
    parent?: { all: Map<string, Tensor>; prefix: string },
  ) {
    this.device = options.device ?? defaultDevice();
    this.dtype = options.dtype ?? "f32";
    this.#random = options.random === undefined ? defaultRandom() : options.random;
    this.#all = parent?.all ?? new Map();
    this.#prefix = parent?.prefix ?? "";
  }

  /** The parameters whose names begin with `name` and a dot. */
  at(name: string | number): Parameters {
    return new Parameters(
      { device: this.device, dtype: this.dtype, random: this.#random },
      { all: this.#all, prefix: `${this.#prefix}${name}.` },
    );
  }

  /** The path of this part, without a dot at its end; empty for the whole. */
  get name(): string {
    return this.#prefix.slice(0, -1);
  }

  /** Creates a parameter. Throws when the name is taken. */
  create(name: string, shape: Shape, initial: Initial): Tensor {
    const path = this.#prefix + name;
    if (this.#all.has(path)) throw new Error(`There is a parameter "${path}" already`);
    const { device, dtype } = this;
    const random = this.#random;
    const parameter = "value" in initial
      ? constant(device, shape, initial.value, dtype)
      : random === null
      ? constant(device, shape, 0, dtype)
      : randn(shape, { device, dtype, std: initial.std, random });
    parameter.keep();
    parameter.name = path;
    parameter.requiresGrad = true;
    this.#all.set(path, parameter);
    return parameter;
  }

  /** All parameters in the order they were created. */
  all(): ReadonlyMap<string, Tensor> {
    return this.#all;
  }

  /** The number of numbers in all of them. */
  count(): number {
    let count = 0;
    for (const parameter of this.#all.values()) count += parameter.size;
    return count;
  }

  /** Frees them. */
  dispose(): void {
    for (const parameter of this.#all.values()) parameter.dispose();
    this.#all.clear();
  }
}

/** Throws an error that lists what is missing, foreign or of another shape, unless the names match. */
export function checkStateDict(
  expected: ReadonlyMap<string, { readonly shape: Shape }>,
  given: ReadonlyMap<string, { readonly shape: Shape }>,
  what: string,
): void {
  const problems: string[] = [];
  for (const [name, { shape }] of expected) {
    const found = given.get(name);
    if (!found) problems.push(`"${name}" ${formatShape(shape)} is missing`);
    else if (!sameShape(found.shape, shape)) {
      problems.push(`"${name}" is ${formatShape(found.shape)}, expected ${formatShape(shape)}`);
    }
  }
  for (const name of given.keys()) if (!expected.has(name)) problems.push(`"${name}" is not known`);
  if (!problems.length) return;
  const more = problems.length > 6 ? `; and ${problems.length - 6} more` : "";
  throw new TypeError(`${what} does not fit the model: ${problems.slice(0, 6).join("; ")}${more}`);
}
