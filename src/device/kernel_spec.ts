/**
 * What is derived from a kernel's declaration: the WGSL header of its programs, the number of elements of each binding,
 * and which bindings advance when a launch is split.
 *
 * @module
 */
import type { DType } from "./dtype.ts";

/** The parameters of a kernel, by name. */
export type Params = Record<string, number>;

/** How a kernel uses a binding. `update` reads and writes. */
export type Access = "read" | "write" | "update";

/**
 * The shape of a binding: names of parameters and numbers, the outermost axis first, such as `"rows columns"`. `"*"` is
 * any number of elements. A function if the shape depends on the parameters.
 */
export type ShapeSpec<P> = string | ((params: P) => string);

/** A storage binding of a kernel: its use, and its shape. */
export type BindingSpec<P> =
  & (
    | { readonly read: ShapeSpec<P> }
    | { readonly write: ShapeSpec<P> }
    | { readonly update: ShapeSpec<P> }
  )
  & {
    /** The only dtype that the kernel accepts; `i32` also accepts `u32`. Default: any, as given at launch. */
    readonly dtype?: DType | undefined;
    /** Whether a launch may omit the binding; a few zero bytes are bound instead. Default: false. */
    readonly optional?: boolean;
    /** Whether `simd` takes f16 here as it is, and not as a copy in f32. Default: false. */
    readonly half?: boolean;
  };

/** A storage binding with what is derived from its declaration. */
export interface BindingSlot {
  /** The name in TypeScript. */
  readonly name: string;
  /** The name in WGSL: `dOut` becomes `d_out`, and its element type `D_OUT`. */
  readonly variable: string;
  /** How the kernel uses it. */
  readonly access: Access;
  /** Whether a launch may omit it. */
  readonly optional: boolean;
  /** Whether `simd` accepts f16 here as it is. */
  readonly half: boolean;
  /** The only dtype it accepts; `i32` also accepts `u32`. */
  readonly dtype: DType | undefined;
  /** The names of its axes for these parameters, the outermost first; only `*` if any size will do. */
  axes(params: Params): readonly string[];
}

/** What a kernel declares about its bindings and parameters. */
export interface KernelSpecification {
  /** The bindings in `@binding` order. */
  readonly slots: readonly BindingSlot[];
  /** The parameters with their types, in order. */
  readonly fields: readonly (readonly [name: string, type: "u32" | "i32" | "f32"])[];
}

/** The bindings of a kernel in `@binding` order. */
export function slotsOf<P extends Params>(
  bindings: Readonly<Record<string, BindingSpec<P>>>,
): readonly BindingSlot[] {
  return Object.entries(bindings).map(([name, spec]) => {
    const access: Access = "read" in spec ? "read" : "write" in spec ? "write" : "update";
    const shape = (spec as Record<Access, string | ((params: P) => string)>)[access];
    const { optional = false, half = false, dtype } = spec;
    let axes: BindingSlot["axes"];
    if (typeof shape === "string") {
      const parsed = parseAxes(shape);
      axes = () => parsed;
    } else axes = (params) => parseAxes(shape(params as P));
    return { name, variable: snakeCase(name), access, optional, half, dtype, axes };
  });
}

/** The number of elements of a binding with these axes: the product of numbers and of parameters by name. */
export function sizeOfAxes(axes: readonly string[], params: Params): number {
  let elements = 1;
  for (const axis of axes) elements *= params[axis] ?? Number(axis);
  return elements;
}

/**
 * The header of a program:
 *
 * - the struct of its parameters, in snake case, as `params`;
 * - each binding `x` as an array of `X`; those whose last axis is `vec4` are accessed four elements at a time;
 * - `HAS_X` for each optional binding, whether it is given;
 * - `VECTOR`, whether bindings are accessed as vectors; `WIDTH`, their length (4 or 1); and `F`, the type to compute in
 *   (`vec4<f32>` or `f32`).
 */
export function wgslHeader(
  { slots, fields }: KernelSpecification,
  params: Params,
  dtypes: Readonly<Record<string, DType>>,
  vec4: string | false = false,
): string {
  // An omitted binding must not use f16, which the device may not have.
  const elements = slots.map(({ name, dtype = dtypes[name] }) =>
    dtype === undefined || (dtype === "f16" && !(name in dtypes)) ? "f32" : dtype
  );
  const lines = elements.includes("f16") ? ["enable f16;"] : [];
  lines.push(
    `const VECTOR = ${vec4 !== false};`,
    `const WIDTH = ${vec4 === false ? 1 : 4}u;`,
    `alias F = ${vec4 === false ? "f32" : "vec4<f32>"};`,
  );
  if (fields.length > 0) {
    lines.push(
      "struct Params {",
      ...fields.map(([name, type]) => `  ${snakeCase(name)}: ${type},`),
      "}",
      `@group(0) @binding(${slots.length}) var<uniform> params: Params;`,
    );
  }
  slots.forEach(({ name, variable, access, optional, axes }, i) => {
    const type = variable.toUpperCase();
    const inFours = vec4 !== false && axes(params).at(-1) === vec4;
    const space = access === "read" ? "read" : "read_write";
    if (optional) lines.push(`const HAS_${type} = ${name in dtypes};`);
    lines.push(
      `alias ${type} = ${inFours ? `vec4<${elements[i]}>` : elements[i]};`,
      `@group(0) @binding(${i}) var<storage, ${space}> ${variable}: array<${type}>;`,
    );
  });
  return lines.join("\n") + "\n";
}

const parsed = new Map<string, readonly string[]>();

function parseAxes(shape: string): readonly string[] {
  let axes = parsed.get(shape);
  if (!axes) parsed.set(shape, axes = shape.split(" "));
  return axes;
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
