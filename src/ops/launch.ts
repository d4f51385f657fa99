/**
 * Helpers shared by the operations: launches of elementwise kernels, of reductions and of strided copies.
 *
 * @module
 */
import {
  unaryBackwardKernels,
  type UnaryBackwardName,
  unaryKernels,
} from "../../kernels/elementwise/unary.ts";
import { broadcastParams } from "../../kernels/elementwise/elementwise.ts";
import { embeddingBackward, sortIds } from "../../kernels/indexing/embedding.ts";
import { stridedKernels, stridedParams } from "../../kernels/indexing/strided.ts";
import { columnSums } from "../../kernels/rows/norm.ts";
import { reduceKernels } from "../../kernels/rows/reduce.ts";
import type { AxisParams } from "../../kernels/rows/softmax.ts";
import type { Binding, Device } from "../device/device.ts";
import { BYTES, type DType, INTEGER_RANGES, isFloat, isQuantised } from "../device/dtype.ts";
import { type Kernel, MAX_ITERATIONS, type Params } from "../device/kernel.ts";
import { quantisedLayout } from "../device/quantised.ts";
import { scoped } from "../tensor/scope.ts";
import {
  broadcastShapes,
  broadcastStrides,
  sameShape,
  type Shape,
  sizeOf,
  stridesOf,
} from "../tensor/shape.ts";
import { type GradPlace, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { sameDevice } from "./check.ts";

/** A range of a tensor's elements. */
export function part({ buffer, dtype, offset }: Binding, first: number, size: number): Binding {
  return { buffer, dtype, offset: offset + first, size };
}

/**
 * Where to write the gradient of `x`: the given place, unless the gradient has to be added to it and the operation
 * cannot add (`adds`); otherwise a new tensor.
 */
export function placeFor(
  x: Pick<Tensor, "device" | "shape" | "dtype">,
  given: GradPlace | undefined,
  adds = true,
): GradPlace {
  if (given && (adds || !given.accumulate)) return given;
  return { y: Tensor.empty(x.device, x.shape, x.dtype), accumulate: false };
}

/** Maximum number of ids whose gradients are added in one launch: all may be equal, and loops are limited. */
const RUN = MAX_ITERATIONS / 2;

/** Adds rows `x` (..., E) to `table` (V, E) in place at `ids` (...); rows with the same id are added in order. */
export function addRows(table: Tensor, ids: Tensor, x: Tensor): void {
  const { device } = table;
  const [tableRows, columns] = table.shape as [number, number];
  using sorted = Tensor.empty(device, [2, Math.min(RUN, ids.size)], "u32");
  for (let first = 0; first < ids.size; first += RUN) {
    const rows = Math.min(RUN, ids.size - first);
    const own = { ids: part(ids, first, rows), sorted: part(sorted, 0, 2 * rows) };
    device.launch(sortIds, own, { count: rows });
    const bindings = { x: part(x, first * columns, rows * columns), ...own, table };
    device.launch(embeddingBackward, bindings, { rows, columns, firstRow: 0, tableRows });
  }
}

/** Maximum number of rows that one launch adds up, so that loops stay short on every device. */
const SUM_ROWS = 2 ** 17;

/**
 * Launches the gradients of a bias (columns) from dOut (rows, columns), and of the weight of a normalisation, where
 * their places are given. See `columnSums`.
 */
export function sumColumns(
  { dOut, x, mean, rstd }: { dOut: Binding; x?: Binding; mean?: Binding; rstd?: Binding },
  { dWeight, dBias }: { dWeight?: GradPlace | undefined; dBias?: GradPlace | undefined },
): void {
  if (!dWeight && !dBias) return;
  const { device } = dOut.buffer;
  const columns = (dWeight ?? dBias)!.y.size;
  const rows = columns ? dOut.size / columns : 0;
  // Each launch takes at most what can be bound. Multiples of 64 rows keep every part aligned.
  const bound = Math.floor(device.maxBindingBytes / (4 * columns || 1) / 64) * 64;
  const most = Math.min(device.kind === "cpu" ? Infinity : SUM_ROWS, Math.max(64, bound));
  for (let first = 0; first === 0 || first < rows; first += most) {
    const count = Math.min(most, rows - first);
    const some = (tensor: Binding, width: number) => part(tensor, first * width, count * width);
    device.launch(columnSums, {
      dOut: some(dOut, columns),
      x: dWeight && some(x!, columns),
      mean: mean && dWeight && some(mean, 1),
      rstd: dWeight && some(rstd!, 1),
      dWeight: dWeight?.y,
      dBias: dBias?.y,
    }, {
      rows: count,
      columns,
      addWeight: Number(first > 0 || dWeight?.accumulate === true),
      addBias: Number(first > 0 || dBias?.accumulate === true),
    });
  }
}

/** Fills a tensor of the operands' shape with an elementwise kernel. */
export function launchFlat(
  kernel: Kernel<Params>,
  operands: readonly Tensor[],
  dtype: DType = operands[0]!.dtype,
  scalars: Params = {},
): Tensor {
  const device = sameDevice(kernel.name, ...operands);
  const [a, b, c] = operands;
  const y = Tensor.empty(device, a!.shape, dtype);
  device.launch(kernel, { a, ...(b && { b }), ...(c && { c }), y }, {
    count: a!.size,
    float: operands.every((operand) => isFloat(operand.dtype)) ? 1 : 0,
    ...scalars,
  });
  return y;
}

/** Fills a tensor of the broadcast shape of the operands with a broadcasting kernel. */
export function launchBroadcast(
  name: string,
  kernel: Kernel<Params>,
  operands: readonly Tensor[],
  dtype: DType = operands[0]!.dtype,
): Tensor {
  const device = sameDevice(name, ...operands);
  const shape = operands.reduce<Shape>(
    (all, operand) => broadcastShapes(name, all, operand.shape),
    [],
  );
  const strides = operands.map((operand) => broadcastStrides(operand.shape, shape));
  const float = operands.every((operand) => isFloat(operand.dtype));
  const params = broadcastParams(name, shape, strides, float);
  const y = Tensor.empty(device, shape, dtype);
  const [a, b, c] = operands;
  device.launch(kernel, { a, ...(b && { b }), ...(c && { c }), y }, params);
  return y;
}

/** Applies a function whose gradient is one kernel of dOut and x, or of dOut and the result. */
export function applyUnary(
  name: UnaryBackwardName,
  x: Tensor,
  needs: "input" | "value",
  scalars: Params = {},
): Tensor {
  const y = launchFlat(unaryKernels[name], [x], x.dtype, scalars);
  if (!isFloat(x.dtype)) return y;
  return record(
    name,
    [x],
    y,
    [needs === "input" ? x : y],
    (
      dOut,
      [saved],
    ) => [launchFlat(unaryBackwardKernels[name], [dOut, saved!], dOut.dtype, scalars)],
  );
}

/**
 * Parameters of a kernel that takes a tensor and a number. Throws a `TypeError` for a number that an integer tensor
 * cannot hold.
 */
export function numberScalars(name: string, x: Tensor, number: number, swapped: boolean): Params {
  const float = isFloat(x.dtype);
  if (!float) {
    const [lowest, highest] = INTEGER_RANGES[x.dtype]!;
    if (!(Number.isInteger(number) && number >= lowest && number <= highest)) {
      throw new TypeError(
        `${name}: expected an integer from ${lowest} to ${highest} for ${x} but got ${number}`,
      );
    }
  }
  return { value: number, whole: float ? 0 : number | 0, swapped: swapped ? 1 : 0 };
}

/**
 * Sums `x` over the axes along which `shape` was broadcast: the gradient of a broadcast. Returns `x` itself if the
 * shapes are the same.
 */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  const extra = x.shape.length - shape.length;
  const axes = x.shape.map((_, axis) => axis).filter((axis) =>
    axis < extra || (shape[axis - extra] === 1 && x.shape[axis] !== 1)
  );
  if (axes.length === 0) return x;
  return scoped(() => reduce("sum", x, axes, undefined, 1).alias(shape));
}

/** The shape with length 1 for the reduced axes. */
export function keptShape(shape: Shape, axes: Shape): number[] {
  return shape.map((length, axis) => axes.includes(axis) ? 1 : length);
}

/** Reduces groups of adjacent axes one after another, the last first, in f32 in between. */
export function reduce(
  name: keyof typeof reduceKernels,
  x: Tensor,
  axes: readonly number[],
  { keepdim = false }: { readonly keepdim?: boolean } = {},
  scale: number,
): Tensor {
  x.checkInUse(name);
  const kept = keptShape(x.shape, axes);
  const shape = keepdim ? kept : x.shape.filter((_, axis) => !axes.includes(axis));
  return scoped(() => {
    const groups: [first: number, end: number][] = [];
    for (const axis of axes) {
      const last = groups.at(-1);
      if (last?.[1] === axis) last[1] = axis + 1;
      else groups.push([axis, axis + 1]);
    }
    if (groups.length === 0) groups.push([0, 0]); // nothing to reduce: one pass copies
    let part = x;
    for (const [g, [first, end]] of [...groups.entries()].reverse()) {
      const outer = sizeOf(x.shape.slice(0, first));
      const reduced = sizeOf(x.shape.slice(first, end));
      const inner = sizeOf(kept.slice(end));
      part = reduceOne(name, part, [outer, reduced, inner], g > 0, scale, x.dtype);
    }
    return part.alias(shape);
  });
}

/** Reduces `x`, viewed as [outer, reduced, inner], in as many passes as needed. */
function reduceOne(
  name: keyof typeof reduceKernels,
  x: Tensor,
  [outer, reduced, inner]: readonly [number, number, number],
  more: boolean,
  scale: number,
  dtype: DType,
): Tensor {
  const float = isFloat(dtype);
  const length = slabLength(x.device, outer, reduced, inner);
  const slabs = Math.max(1, Math.ceil(reduced / length));
  const last = slabs === 1 && !more;
  const y = Tensor.empty(
    x.device,
    [outer, slabs, inner],
    last ? dtype : float ? "f32" : dtype,
  );
  x.device.launch(reduceKernels[name], { x, y }, {
    count: y.size,
    reduced,
    inner,
    slabs,
    length,
    scale: last ? scale : 1,
    float: float ? 1 : 0,
  });
  return slabs === 1 ? y : reduceOne(name, y, [outer, slabs, inner], more, scale, dtype);
}

/** How many elements one invocation, or one call on the CPU, reduces: enough parallelism, and short chains. */
function slabLength(device: Device, outer: number, reduced: number, inner: number): number {
  if (device.kind === "cpu") return Math.max(1, Math.min(reduced, inner === 1 ? 65536 : 4096));
  const parallel = Math.ceil(outer * reduced * inner / 65536);
  return Math.max(1, Math.min(reduced, Math.max(32, Math.min(512, parallel))));
}

/** True if these strides visit consecutive elements. */
function isRun(shape: Shape, strides: readonly number[]): boolean {
  const own = stridesOf(shape);
  return shape.every((length, axis) => length === 1 || strides[axis] === own[axis]);
}

/**
 * Copies consecutive elements as bytes, which needs no binding. Returns false if they do not fill whole 32-bit words.
 */
export function copyRun(
  from: Tensor,
  at: number,
  to: Tensor,
  toAt: number,
  count: number,
): boolean {
  const bytes = BYTES[from.dtype];
  if (at * bytes % 4 || toAt * bytes % 4 || count * bytes % 4) return false;
  const [fromByte, toByte] = [(from.offset + at) * bytes, (to.offset + toAt) * bytes];
  from.device.copy(from.buffer, fromByte, to.buffer, toByte, count * bytes);
  return true;
}

/** A new tensor of `shape`, read from `x` with strides, starting at element `base`. No gradient is recorded. */
export function copyStrided(
  x: Tensor,
  shape: Shape,
  strides: readonly number[],
  base: number,
): Tensor {
  const y = Tensor.empty(x.device, shape, x.dtype);
  if (y.size === 0) return y;
  if (isRun(shape, strides) && copyRun(x, base, y, 0, y.size)) return y;
  x.device.launch(stridedKernels.gather, { x, y }, stridedParams("copy", shape, strides, base));
  return y;
}

/** Writes `x` into `y` with strides, starting at element `base`. */
export function writeStrided(x: Tensor, y: Tensor, strides: readonly number[], base: number): void {
  if (x.size === 0) return;
  if (isRun(x.shape, strides) && copyRun(x, 0, y, base, x.size)) return;
  x.device.launch(
    stridedKernels.scatter,
    { x, y },
    stridedParams("copy", x.shape, strides, base),
  );
}

/** `broadcastTo` without a gradient, for the gradients of reductions. */
export function expand(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  return copyStrided(x, shape, broadcastStrides(x.shape, shape), 0);
}

/** A shape viewed as (outer, columns, inner) around an axis. */
export function alongAxis(shape: Shape, axis: number): AxisParams {
  return {
    outer: sizeOf(shape.slice(0, axis)),
    columns: shape[axis]!,
    inner: sizeOf(shape.slice(axis + 1)),
  };
}

/**
 * The codes and scales of a part of a quantised tensor (by default all of it) as bindings. The part must begin at a
 * multiple of 4,096 elements.
 */
export function planesOf(
  whole: Binding,
  { offset, size }: Pick<Binding, "offset" | "size"> = whole,
): { codes: Binding; scales: Binding } {
  const { buffer, dtype } = whole;
  if (!isQuantised(dtype)) throw new TypeError(`planesOf: expected q8_0 or q4_0 but got ${dtype}`);
  const { scaleStart } = quantisedLayout(dtype, whole.size);
  const first = quantisedLayout(dtype, offset), own = quantisedLayout(dtype, size);
  const u32 = { buffer, dtype: "u32" } as const;
  return {
    codes: { ...u32, offset: first.codeWords, size: own.codeWords },
    scales: { ...u32, offset: scaleStart + first.scaleWords, size: own.scaleWords },
  };
}
