/**
 * What layer and RMS normalisation share.
 *
 * @module
 */
import { layerNormBackwardParams } from "../../kernels/rows/layer_norm_backward_params.ts";
import { layerNormSlabs } from "../../kernels/rows/layer_norm_slabs.ts";
import type { Binding } from "../device/device.ts";
import { BYTES, type DType } from "../device/dtype.ts";
import { MAX_ITERATIONS } from "../device/kernel.ts";
import { formatShape, sizeOf } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat } from "./check.ts";

/** Options of `layerNorm` and `rmsNorm`. */
export interface NormOptions {
  /** Added to the variance, inside the square root. Default: 1e-5. */
  readonly eps?: number;
}

/** Rows, columns and eps of a normalisation, all checked. */
export function normParams(
  op: string,
  x: Tensor,
  parameters: Readonly<Record<string, Tensor | undefined>>,
  options: NormOptions,
): { rows: number; columns: number; eps: number } {
  checkFloat(op, x);
  if (x.shape.length === 0) {
    throw new TypeError(`${op}: expected at least one axis but got shape []`);
  }
  const columns = x.shape.at(-1)!;
  for (const [name, parameter] of Object.entries(parameters)) {
    if (!parameter) continue;
    checkFloat(op, parameter);
    if (parameter.shape.length !== 1 || parameter.size !== columns) {
      throw new TypeError(
        `${op}: expected a ${name} of shape ${formatShape([columns])} for x of shape ` +
          `${formatShape(x.shape)} but got ${formatShape(parameter.shape)}`,
      );
    }
  }
  const { eps = 1e-5 } = options;
  if (!(eps >= 0)) throw new RangeError(`${op}: expected an eps of 0 or more but got ${eps}`);
  return { rows: sizeOf(x.shape.slice(0, -1)), columns, eps };
}

/**
 * The gradients of weight and bias, of the dtypes that are given. On a GPU rows are added up in slabs side
 * by side and then the slabs, always in the same order; on the CPU threads share the columns instead.
 */
export function sumOverRows(
  inputs: { dOut: Tensor; x: Tensor; mean?: Tensor; rstd: Tensor },
  rows: number,
  columns: number,
  dtypes: { dWeight?: DType; dBias?: DType },
): { dWeight: Tensor | null; dBias: Tensor | null } {
  const { device } = inputs.dOut;
  // Whole 64s keep the first byte of every slab on a boundary that can be bound.
  const slabRows = device.kind === "cpu"
    ? Math.max(1, rows)
    : Math.min(MAX_ITERATIONS, 64 * Math.max(1, Math.ceil(rows / 64 / 128)));
  const slabs = Math.max(1, Math.ceil(rows / slabRows));
  const results = { dWeight: null as Tensor | null, dBias: null as Tensor | null };
  const sums: { dWeight?: Tensor; dBias?: Tensor } = {};
  for (const name of ["dWeight", "dBias"] as const) {
    const dtype = dtypes[name];
    if (!dtype) continue;
    results[name] = Tensor.empty(device, [columns], dtype);
    sums[name] = slabs === 1 ? results[name]! : Tensor.empty(device, [slabs, columns]);
  }
  if (!sums.dWeight && !sums.dBias) return results;
  // No more rows at a time than can be bound.
  const bytes = columns * Math.max(BYTES[inputs.x.dtype], BYTES[inputs.dOut.dtype]);
  const slabsAtOnce = Math.max(1, Math.floor(device.maxBindingBytes / (bytes * slabRows || 1)));
  for (let firstSlab = 0; firstSlab < slabs; firstSlab += slabsAtOnce) {
    const first = firstSlab * slabRows;
    const count = Math.min(rows - first, slabsAtOnce * slabRows);
    const part = (whole: Tensor, width: number): Binding => ({
      buffer: whole.buffer,
      dtype: whole.dtype,
      offset: first * width,
      size: count * width,
    });
    device.launch(layerNormBackwardParams, {
      dOut: part(inputs.dOut, columns),
      x: part(inputs.x, columns),
      mean: inputs.mean && part(inputs.mean, 1),
      rstd: part(inputs.rstd, 1),
      ...sums,
    }, { rows: count, columns, slabRows, firstSlab });
  }
  if (slabs > 1) {
    for (const name of ["dWeight", "dBias"] as const) {
      if (!sums[name]) continue;
      device.launch(layerNormSlabs, { x: sums[name], y: results[name]! }, { slabs, columns });
      sums[name].dispose();
    }
  }
  return results;
}
