/**
 * Checks that operations make before they launch anything.
 *
 * @module
 */
import type { Device } from "../device/device.ts";
import { isFloat, isQuantised } from "../device/dtype.ts";
import { formatShape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * The device of all tensors. Throws a `TypeError` if there is more than one, and an `Error` if a tensor was disposed of.
 */
export function sameDevice(op: string, ...tensors: readonly (Tensor | undefined)[]): Device {
  const given = tensors.filter((tensor) => tensor !== undefined);
  for (const tensor of given) tensor.checkInUse(op);
  const other = given.find((tensor) => tensor.device !== given[0]!.device);
  if (other) {
    const another = other.device.kind === given[0]!.device.kind ? ", each opened by itself" : "";
    throw new TypeError(
      `${op}: expected tensors on one device but got ${given.map(String).join(" and ")}${another}`,
    );
  }
  return given[0]!.device;
}

/** Throws a `TypeError` unless every tensor holds floating-point numbers, and an `Error` if one was disposed of. */
export function checkFloat(op: string, ...tensors: readonly Tensor[]): void {
  for (const tensor of tensors) tensor.checkInUse(op);
  const wrong = tensors.find((tensor) => !isFloat(tensor.dtype));
  if (wrong) throw new TypeError(`${op}: expected f32 or f16 but got ${wrong}`);
}

/** Throws a `TypeError` unless all tensors have the dtype of the first. */
export function sameDType(op: string, ...tensors: readonly (Tensor | undefined)[]): void {
  const given = tensors.filter((tensor) => tensor !== undefined);
  const other = given.find((tensor) => tensor.dtype !== given[0]!.dtype);
  if (other) {
    throw new TypeError(`${op}: expected one dtype but got ${given.map(String).join(" and ")}`);
  }
}

/**
 * Throws a `TypeError` unless the two tensors can be multiplied: both of one float dtype, or the second quantised, or f16
 * while the first is f32.
 */
export function checkMultiplied(op: string, x: Tensor, weight: Tensor): void {
  checkFloat(op, x);
  if (isQuantised(weight.dtype)) return;
  checkFloat(op, weight);
  if (x.dtype !== "f32" || weight.dtype !== "f16") sameDType(op, x, weight);
}

/** Throws a `TypeError` unless the tensor holds ids (`i32` or `u32`). */
export function checkIds(op: string, ids: Tensor): void {
  if (ids.dtype !== "i32" && ids.dtype !== "u32") {
    throw new TypeError(`${op}: expected ids of i32 or u32 but got ${ids}`);
  }
}

/** Throws a `RangeError` unless `p` is a valid dropout probability. */
export function checkProbability(op: string, p: number): void {
  if (!(p >= 0 && p < 1)) throw new RangeError(`${op}: expected p in [0, 1) but got ${p}`);
}

/** Throws a `TypeError` unless the tensor has the given rank. */
export function checkRank(op: string, tensor: Tensor, rank: number, meaning: string): void {
  if (tensor.shape.length !== rank) {
    throw new TypeError(`${op}: expected ${meaning} but got shape ${formatShape(tensor.shape)}`);
  }
}

/** Whether rows of the forward pass that is running consist of several documents. */
let hasDocuments = false;

/** Runs a forward pass over rows that consist of several documents; {@linkcode checkDocuments} applies to it. */
export function overDocuments<T>(forward: () => T): T {
  const before = hasDocuments;
  hasDocuments = true;
  try {
    return forward();
  } finally {
    hasDocuments = before;
  }
}

/** Throws a `TypeError` for causal attention without positions if tokens would see other documents than their own. */
export function checkDocuments(op: string): void {
  if (!hasDocuments) return;
  throw new TypeError(
    `${op}: expected the positions of the forward pass, in which tokens see only their own document, but got none`,
  );
}
