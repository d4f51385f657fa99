/**
 * The affine map of a layer.
 *
 * @module
 */
import { formatShape, sameShape, sizeOf } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, sameDevice, sameDType } from "./check.ts";
import { launchMatmul } from "./matmul_launch.ts";
import { sum } from "./reduce.ts";

/** Options of {@linkcode linear}. */
export interface LinearCall {
  /** (..., outputs), added to the result. */
  readonly residual?: Tensor;
}

/**
 * `x weight^T + bias`, and `residual` where it is given: x (..., inputs), weight (outputs, inputs), bias
 * (outputs) gives (..., outputs), in one kernel. Throws a `TypeError` when the shapes do not fit.
 */
export function linear(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor,
  { residual }: LinearCall = {},
): Tensor {
  const device = sameDevice("linear", x, weight, bias, residual);
  checkFloat("linear", x, weight);
  sameDType("linear", x, weight, residual);
  const k = x.shape.at(-1);
  const [n, inputs] = weight.shape;
  if (weight.shape.length !== 2 || k !== inputs) {
    throw new TypeError(
      `linear: expected x (..., inputs) and weight (outputs, inputs) but got ` +
        `${formatShape(x.shape)} and ${formatShape(weight.shape)}`,
    );
  }
  const shape = [...x.shape.slice(0, -1), n];
  if (bias && !sameShape(bias.shape, [n])) {
    throw new TypeError(
      `linear: expected a bias of shape [${n}] but got ${formatShape(bias.shape)}`,
    );
  }
  if (residual && !sameShape(residual.shape, shape)) {
    throw new TypeError(
      `linear: expected a residual of shape ${formatShape(shape)} but got ${
        formatShape(residual.shape)
      }`,
    );
  }
  const m = sizeOf(x.shape.slice(0, -1));
  const y = Tensor.empty(device, shape, x.dtype);
  launchMatmul({ m, n, k, a: x, b: weight, transposeB: true, c: y, bias, residual });
  const inputsOf = [x, weight, ...bias ? [bias] : [], ...residual ? [residual] : []];
  return record("linear", inputsOf, y, [x, weight], (dOut, [x, weight], wanted) => {
    const [wantX, wantWeight] = wanted;
    const dX = wantX ? Tensor.empty(device, x.shape, x.dtype) : null;
    if (dX) launchMatmul({ m, n: k, k: n, a: dOut, b: weight, c: dX });
    const dWeight = wantWeight ? Tensor.empty(device, weight.shape, weight.dtype) : null;
    if (dWeight) launchMatmul({ m: n, n: k, k: m, a: dOut, transposeA: true, b: x, c: dWeight });
    const rest: (Tensor | null)[] = [];
    if (bias) rest.push(wanted[2] ? sum(dOut.alias([m, n]), 0) : null);
    if (residual) rest.push(dOut);
    return [dX, dWeight, ...rest];
  });
}
