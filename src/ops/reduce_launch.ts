/**
 * Launches of the reductions, without gradients.
 *
 * @module
 */
import { reduceKernels } from "../../kernels/rows/reduce.ts";
import type { Device } from "../device/device.ts";
import { type DType, isFloat } from "../device/dtype.ts";
import { scoped } from "../tensor/scope.ts";
import { type Shape, sizeOf } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";

/**
 * The sum along the axes over which `shape` was stretched to that of `x`: what the gradient of a broadcast
 * needs. Returns `x` itself where the shapes are the same.
 */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  const extra = x.shape.length - shape.length;
  const axes = x.shape.map((_, axis) => axis).filter((axis) =>
    axis < extra || (shape[axis - extra] === 1 && x.shape[axis] !== 1)
  );
  if (axes.length === 0) return x;
  return scoped(() => reduce("sum", x, axes, {}, 1).alias(shape));
}

/** The shape with the reduced axes of length 1. */
export function keptShape(shape: Shape, axes: Shape): number[] {
  return shape.map((length, axis) => axes.includes(axis) ? 1 : length);
}

/** Reduces groups of neighbouring axes one after the other, the last first, in f32 between. */
export function reduce(
  name: keyof typeof reduceKernels,
  x: Tensor,
  axes: readonly number[],
  { keepdim = false }: { readonly keepdim?: boolean },
  scale: number,
): Tensor {
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
    for (let g = groups.length - 1; g >= 0; g--) {
      const [first, end] = groups[g];
      const outer = sizeOf(x.shape.slice(0, first));
      const reduced = sizeOf(x.shape.slice(first, end));
      const inner = sizeOf(kept.slice(end));
      part = reduceOne(name, part, [outer, reduced, inner], g > 0, scale, x.dtype);
    }
    return part.alias(shape);
  });
}

/** Reduces `x` seen as [outer, reduced, inner], in as many passes as it takes. */
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

/** How much one invocation, or one call on the CPU, reduces: enough in parallel, and short chains. */
function slabLength(device: Device, outer: number, reduced: number, inner: number): number {
  if (device.kind === "cpu") return Math.max(1, Math.min(reduced, inner === 1 ? 65536 : 4096));
  const parallel = Math.ceil(outer * reduced * inner / 65536);
  return Math.max(1, Math.min(reduced, Math.max(32, Math.min(512, parallel))));
}
