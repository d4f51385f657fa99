/**
 * Parameters by name: checking them, and converting them to and from files.
 *
 * @module
 */
import { isQuantised } from "../device/dtype.ts";
import { quantised } from "../device/quantised.ts";
import type { TensorEntry } from "../io/safetensors.ts";
import { assign } from "../tensor/create.ts";
import { formatShape, sameShape, type Shape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Parameters by name. */
export type StateDict = ReadonlyMap<string, Tensor>;

/** Quantised tensors are written dequantised, as float32. */
const FILE_TYPES = {
  f32: "F32",
  f16: "F16",
  i32: "I32",
  u32: "U32",
  q8_0: "F32",
  q4_0: "F32",
} as const;

/** Entries for a safetensors file. Each tensor is read from its device when it is written. */
export function tensorEntries(
  tensors: ReadonlyMap<string, Pick<Tensor, "shape" | "dtype" | "data">>,
  prefix = "",
): TensorEntry[] {
  return [...tensors].map(([name, tensor]) => ({
    name: prefix + name,
    dtype: FILE_TYPES[tensor.dtype],
    shape: tensor.shape,
    data: () => tensor.data(),
  }));
}

/** Writes floating-point values into a tensor, converted to its dtype. */
export function assignFloats(tensor: Tensor, values: ArrayLike<number>): void {
  const { dtype } = tensor;
  if (dtype === "f16") {
    assign(tensor, values instanceof Float16Array ? values : new Float16Array(values));
    return;
  }
  const floats = values instanceof Float32Array ? values : new Float32Array(values);
  if (!isQuantised(dtype)) assign(tensor, floats);
  else if (tensor.size > 0) tensor.device.write(tensor.buffer, quantised(dtype, floats));
}

/** Throws a `RangeError` if a number is too large for f16. */
export function checkWithinHalf(op: string, name: string, values: ArrayLike<number>): void {
  for (let i = 0; i < values.length; i++) {
    const x = values[i]!;
    if (isFinite(Math.f16round(x)) || !isFinite(x)) continue;
    throw new RangeError(`${op}: expected values within f16 but got ${x} in "${name}"; take f32`);
  }
}

/** Throws a `TypeError` that lists missing names, unknown names and mismatched shapes, unless all match. */
export function checkStateDict(
  expected: ReadonlyMap<string, { readonly shape: Shape }>,
  given: ReadonlyMap<string, { readonly shape: Shape }>,
  what: string,
): void {
  const problems: string[] = [];
  for (const [name, { shape }] of expected) {
    const found = given.get(name);
    if (!found) problems.push(`expected "${name}" of shape ${formatShape(shape)} but got none`);
    else if (!sameShape(found.shape, shape)) {
      problems.push(
        `expected "${name}" of shape ${formatShape(shape)} but got ${formatShape(found.shape)}`,
      );
    }
  }
  for (const name of given.keys()) if (!expected.has(name)) problems.push(`unknown name "${name}"`);
  if (!problems.length) return;
  const more = problems.length > 6 ? `; and ${problems.length - 6} more` : "";
  throw new TypeError(
    `${what}: the tensors do not fit the model: ${problems.slice(0, 6).join("; ")}${more}`,
  );
}
