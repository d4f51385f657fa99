/**
 * The gated activation of LLaMA's feed-forward layers.
 *
 * @module
 */
import { swigluBackward, swigluKernel } from "../../kernels/elementwise/swiglu.ts";
import { formatShape, sameShape } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, sameDType } from "./check.ts";
import { launchFlat } from "./elementwise.ts";

/**
 * silu(gate) * up, of one shape (Shazeer 2020, arXiv:2002.05202). Throws a `TypeError` for shapes or dtypes
 * that differ, and for whole numbers.
 */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  checkFloat("swiglu", gate, up);
  sameDType("swiglu", gate, up);
  if (!sameShape(gate.shape, up.shape)) {
    throw new TypeError(
      `swiglu: expected one shape but got ${formatShape(gate.shape)} and ${formatShape(up.shape)}`,
    );
  }
  const y = launchFlat(swigluKernel, [gate, up]);
  return record("swiglu", [gate, up], y, [gate, up], (dOut, [gate, up]) => {
    const dGate = Tensor.empty(dOut.device, dOut.shape, dOut.dtype);
    const dUp = Tensor.empty(dOut.device, dOut.shape, dOut.dtype);
    dOut.device.launch(swigluBackward, { dOut, gate, up, dGate, dUp }, { count: dOut.size });
    return [dGate, dUp];
  });
}
