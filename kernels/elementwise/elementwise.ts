/**
 * Generates the elementwise kernels. Since they differ in one formula only, their WGSL is generated; no other WGSL
 * is. A formula is written for single numbers, once in WGSL and once in TypeScript. The generated program loads four
 * elements at a time if the lengths allow it, computes f16 in f32, and reads broadcast operands in place.
 *
 * @module
 */
import type { DType } from "../../src/device/dtype.ts";
import {
  type BindingSpec,
  type GpuProgram,
  type GpuTarget,
  type Kernel,
  kernel,
  type Params,
  type ShapeSpec,
  type SimdJob,
} from "../../src/device/kernel.ts";

/** The most axes of a broadcast after {@linkcode broadcastParams} has merged them. */
export const MAX_AXES = 6;

const INPUTS = ["a", "b", "c"];
const WORKGROUP = 64;
/** The elements of a chunk on the CPU's threads. */
export const SIMD_CHUNK = 16384;

/** An elementwise computation. */
export interface Formula {
  /** The name in errors and timings. */
  readonly name: string;
  /** The number of operands, which are called `a`, `b` and `c`. */
  readonly inputs: 1 | 2 | 3;
  /** The scalars, which are the same for every element, by name. */
  readonly scalars?: Readonly<Record<string, "f32" | "i32">>;
  /**
   * A WGSL expression in `a`, `b`, `c` and the scalars as `params.name`. The operands are of type `TA`, `TB`, `TC`,
   * which are `f32` for f16 too; the result is of type `TY`. In a function `name_TYPE`, `TYPE` stands for the type of
   * `a`.
   */
  readonly wgsl: string;
  /** WGSL functions that the expression calls. */
  readonly functions?: string;
  /** The formula in TypeScript: the operands, then the scalars. */
  cpu(...operands: number[]): number;
  /** The formula for integers, if 32-bit arithmetic differs from rounded double precision. */
  cpuWhole?(...operands: number[]): number;
  /** The WASM SIMD implementation, for floating-point operands that are not broadcast. */
  readonly simd?: ((job: SimdJob<Params>) => boolean) | undefined;
  /** The WASM SIMD implementation for broadcast operands. */
  readonly simdBroadcast?: ((job: SimdJob<Params>) => boolean) | undefined;
}

/** True if the parameter `float` says that the operands are f32 or f16, which WASM exports accept. */
function isFloatJob({ params }: SimdJob<Params>): boolean {
  return params.float === 1;
}

/** A WASM SIMD implementation that calls an export with the addresses of `a`, `b`, ..., `y`. */
export function simdExport(name: string): (job: SimdJob<Params>) => boolean {
  return (job) => {
    job.run(name, job.params.count!, SIMD_CHUNK, ...Object.values(job.at));
    return true;
  };
}

/**
 * Makes the kernel `y[i] = f(a[i], ...)`. Its parameters are `count`, `float` (1 if all operands are floating-point)
 * and the scalars.
 */
export function flatKernel(formula: Formula): Kernel<Params> {
  const { simd } = formula;
  const names = INPUTS.slice(0, formula.inputs);
  const scalars = Object.keys(formula.scalars ?? {});
  const programs = new Map<string, string>();
  return kernel<Params>({
    name: formula.name,
    bindings: bindingsOf(names, () => "count"),
    params: { count: "u32", float: "u32", ...formula.scalars },
    gpu({ count }, target) {
      const width = count! % 4 === 0 ? 4 : 1;
      return generate(programs, formula, names, target, count! / width, {
        width,
        index: names.map(() => "i"),
        splat: names.map(() => false),
        locate: "",
      });
    },
    cpu(views, params) {
      const { y } = views;
      const f = params.float ? formula.cpu : formula.cpuWhole ?? formula.cpu;
      const s = scalars.map((name) => params[name]!);
      const [a, b, c] = names.map((name) => views[name]);
      const { count } = params;
      if (!b) { for (let i = 0; i < count!; i++) y[i] = f(a[i], ...s); }
      else if (!c) { for (let i = 0; i < count!; i++) y[i] = f(a[i], b[i], ...s); }
      else for (let i = 0; i < count!; i++) y[i] = f(a[i], b[i], c[i], ...s);
    },
    ...(simd && { simd: (job: SimdJob<Params>) => isFloatJob(job) && simd(job) }),
    split: "count",
  });
}

/**
 * Makes the kernel `y[i] = f(a[...], ...)`, which reads every operand by its own strides; they are 0 along broadcast
 * axes. Its parameters come from {@linkcode broadcastParams}.
 */
export function broadcastKernel(formula: Formula): Kernel<Params> {
  const names = INPUTS.slice(0, formula.inputs);
  const scalars = Object.keys(formula.scalars ?? {});
  const programs = new Map<string, string>();
  const axes = Array.from({ length: MAX_AXES }, (_, axis) => axis);
  return kernel<Params>({
    name: formula.name,
    // A broadcast operand does not advance with the output, so it is bound whole.
    bindings: bindingsOf(
      names,
      (name) => (params) =>
        isDense(params, name) ? "count" : isSplat(params, name) ? "*" : "* count",
    ),
    params: {
      count: "u32",
      start: "u32",
      rank: "u32",
      float: "u32",
      ...Object.fromEntries(
        ["d", ...names].flatMap((name) => axes.map((axis) => [`${name}${axis}`, "u32"] as const)),
      ),
      ...formula.scalars,
    },
    gpu: (params, target) =>
      generate(programs, formula, names, target, ...locateOperands(params, names)),
    cpu(views, params) {
      const { y } = views;
      const f = params.float ? formula.cpu : formula.cpuWhole ?? formula.cpu;
      const s = scalars.map((name) => params[name]!);
      const { rank, count } = params;
      const at = names.map(() => 0);
      const coordinates = new Array<number>(rank!).fill(0);
      const inputs = names.map((name) => views[name]);
      const operands = [...names.map(() => 0), ...s];
      for (let i = 0; i < count!; i++) {
        for (let k = 0; k < names.length; k++) operands[k] = inputs[k][at[k]!];
        y[i] = f(...operands);
        for (let axis = rank! - 1; axis >= 0; axis--) {
          for (let k = 0; k < names.length; k++) at[k]! += params[names[k]! + axis]!;
          if (++coordinates[axis]! < params[`d${axis}`]!) break;
          for (let k = 0; k < names.length; k++) {
            at[k]! -= params[names[k]! + axis]! * coordinates[axis]!;
          }
          coordinates[axis] = 0;
        }
      }
    },
    simd(job) {
      if (!isFloatJob(job)) return false;
      if (formula.simd && names.every((name) => isDense(job.params, name))) {
        return formula.simd(job);
      }
      return formula.simdBroadcast?.(job) ?? false;
    },
    split: "count",
    splitStart: "start",
  });
}

/** True if an operand has one element for each of the output, in the same order. */
export function isDense(params: Params, name: string): boolean {
  let stride = 1;
  for (let axis = params.rank! - 1; axis >= 0; axis--) {
    if (params[name + axis] !== stride) return false;
    stride *= params[`d${axis}`]!;
  }
  return true;
}

/**
 * Returns the parameters of a {@linkcode broadcastKernel}: the output's shape and the strides of each operand along
 * its axes. Axes of length 1 are dropped, and neighbouring axes are merged if that is possible for all operands.
 *
 * Throws a `RangeError` if more than {@linkcode MAX_AXES} axes are left.
 */
export function broadcastParams(
  name: string,
  shape: readonly number[],
  strides: readonly (readonly number[])[],
  float: boolean,
): Params {
  const { lengths, walks } = mergeAxes(shape, strides);
  if (lengths.length > MAX_AXES) {
    throw new RangeError(
      `${name}: expected at most ${MAX_AXES} axes that are stretched differently ` +
        `but got ${lengths.length} in shape [${shape.join(", ")}]`,
    );
  }
  const params: Params = {
    count: lengths.reduce((product, length) => product * length, 1),
    start: 0,
    rank: lengths.length,
    float: float ? 1 : 0,
  };
  for (let axis = 0; axis < MAX_AXES; axis++) {
    params[`d${axis}`] = lengths[axis] ?? 1;
    walks.forEach((walk, k) => params[INPUTS[k]! + axis] = walk[axis] ?? 0);
  }
  return params;
}

/** Drops axes of length 1 and merges neighbouring axes that are contiguous for every operand. */
export function mergeAxes(
  shape: readonly number[],
  strides: readonly (readonly number[])[],
): { lengths: number[]; walks: number[][] } {
  const lengths: number[] = [];
  const walks: number[][] = strides.map(() => []);
  for (let axis = 0; axis < shape.length; axis++) {
    const length = shape[axis]!;
    if (length === 1) continue;
    const last = lengths.length - 1;
    const alike = last >= 0 &&
      strides.every((walk, k) => walks[k]![last] === walk[axis]! * length);
    if (alike) {
      lengths[last]! *= length;
      strides.forEach((walk, k) => walks[k]![last] = walk[axis]!);
    } else {
      lengths.push(length);
      strides.forEach((walk, k) => walks[k]!.push(walk[axis]!));
    }
  }
  if (lengths.length === 0) {
    lengths.push(1);
    walks.forEach((walk) => walk.push(1));
  }
  return { lengths, walks };
}

function bindingsOf(
  names: readonly string[],
  shapeOf: (name: string) => ShapeSpec<Params>,
): Record<string, BindingSpec<Params>> {
  return {
    ...Object.fromEntries(names.map((name) => [name, { read: shapeOf(name) }])),
    y: { write: "count" },
  };
}

/** True if one element of an operand serves a whole run along the innermost axis. */
function isSplat(params: Params, name: string): boolean {
  return params[`${name}${params.rank! - 1}`] === 0;
}

/** How a program finds the elements of its operands. */
interface Access {
  /** The elements an invocation handles at a time: 4 or 1. */
  readonly width: 1 | 4;
  /** The index expression of each operand. */
  readonly index: readonly string[];
  /** True for operands of which one element serves all four. */
  readonly splat: readonly boolean[];
  /** WGSL that computes the indices from `i`. */
  readonly locate: string;
}

function locateOperands(params: Params, names: readonly string[]): [units: number, Access] {
  const { rank, count } = params;
  const last = rank! - 1;
  // The innermost stride of a broadcast operand is always 1 or 0 here.
  const width = params[`d${last}`]! % 4 === 0 && count! % 4 === 0 && params.start! % 4 === 0
    ? 4
    : 1;
  const shift = width === 4 ? " >> 2u" : "";
  const splat = names.map((name) => width === 4 && isSplat(params, name));
  const dense = names.map((name) => isDense(params, name));
  const lost = names.filter((_, k) => !dense[k]);
  const lines: string[] = [];
  if (lost.length) {
    const unit = (name: string): string => splat[names.indexOf(name)] ? "" : shift;
    lost.forEach((name) => lines.push(`var at_${name} = 0u;`));
    lines.push(`var rest = i + (params.start${shift});`);
    for (let axis = last; axis > 0; axis--) {
      const length = axis === last ? `(params.d${axis}${shift})` : `params.d${axis}`;
      lines.push(`{ let q = rest / ${length}; let r = rest - q * ${length}; rest = q;`);
      for (const name of lost) {
        const stride = axis === last
          ? `params.${name}${axis}`
          : `(params.${name}${axis}${unit(name)})`;
        lines.push(`  at_${name} += r * ${stride};`);
      }
      lines.push("}");
    }
    for (const name of lost) {
      const stride = last === 0 ? `params.${name}0` : `(params.${name}0${unit(name)})`;
      lines.push(`at_${name} += rest * ${stride};`);
    }
  }
  return [count! / width, {
    width,
    index: names.map((name, k) => dense[k] ? "i" : `at_${name}`),
    splat,
    locate: lines.map((line) => `    ${line}\n`).join(""),
  }];
}

function generate(
  programs: Map<string, string>,
  formula: Formula,
  names: readonly string[],
  { dtypes, software }: GpuTarget,
  units: number,
  access: Access,
): GpuProgram {
  // Each invocation has a cost on a software adapter; a GPU needs many.
  const items = units >= (software ? 8192 : 1048576) ? (software ? 16 : 4) : 1;
  const key = [...names, "y"].map((name) => dtypes[name]).join() + access.width + items +
    access.splat.join() + access.index.join() + access.locate;
  let wgsl = programs.get(key);
  if (!wgsl) programs.set(key, wgsl = write(formula, names, dtypes, access, items));
  return {
    wgsl,
    vec4: access.width === 4 && "count",
    workgroups: Math.ceil(units / (WORKGROUP * items)),
  };
}

function write(
  formula: Formula,
  names: readonly string[],
  dtypes: Readonly<Record<string, DType>>,
  { width, index, splat, locate }: Access,
  items: number,
): string {
  const compute = (dtype: DType): DType => dtype === "f16" ? "f32" : dtype;
  const vector = (dtype: DType): string => width === 4 ? `vec4<${dtype}>` : dtype;
  const loads = names.map((name, k) => {
    const type = splat[k] ? compute(dtypes[name]!) : vector(compute(dtypes[name]!));
    return `    let ${name}_i = ${type}(${name}[${index[k]}]);`;
  });
  const call = (lane: string): string =>
    `f(${names.map((name, k) => `${name}_i${splat[k] ? "" : lane}`).join(", ")})`;
  const value = width === 4
    ? `vec4<TY>(${[".x", ".y", ".z", ".w"].map(call).join(", ")})`
    : call("");
  const aliases = [...names, "y"].map((name) =>
    `alias T${name.toUpperCase()} = ${compute(dtypes[name]!)};`
  );
  const typed = (wgsl: string): string => wgsl.replaceAll("_TYPE(", `_${compute(dtypes.a!)}(`);
  return `// ${formula.name}
${aliases.join("\n")}

${typed(formula.functions ?? "")}
fn f(${names.map((name) => `${name}: T${name.toUpperCase()}`).join(", ")}) -> TY {
  return TY(${typed(formula.wgsl)});
}

@compute @workgroup_size(${WORKGROUP})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let first = (group.x + group.y * groups.x) * ${WORKGROUP * items}u + lane;
  for (var k = 0u; k < ${items}u; k++) {
    let i = first + k * ${WORKGROUP}u;
    if (i >= params.count / WIDTH) {
      return;
    }
${locate}${loads.join("\n")}
    y[i] = Y(${value});
  }
}
`;
}
