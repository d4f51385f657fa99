/**
 * Formatting a tensor's values.
 *
 * @module
 */
import type { TypedArray } from "../device/dtype.ts";
import { type Shape, stridesOf } from "./shape.ts";

const EDGE = 3; // values shown at each end of an abridged axis
const LONG = 2 * EDGE + 1; // axes up to this length are shown in full

/** Nested brackets with aligned values. Axes longer than seven show three values at either end. */
export function formatValues(values: TypedArray, shape: Shape): string {
  const strides = stridesOf(shape);
  const shown: number[] = [];
  visit(shape, (at) => shown.push(values[at]!), strides, 0, 0);
  const texts = shown.map((value) => formatNumber(value, values instanceof Float32Array));
  const width = Math.max(0, ...texts.map((text) => text.length));
  let next = 0;
  const write = (axis: number, indent: string): string => {
    if (axis === shape.length) return texts[next++]!.padStart(width);
    const length = shape[axis]!;
    const parts: string[] = [];
    for (let i = 0; i < length; i++) {
      if (length > LONG && i === EDGE) {
        parts.push("...");
        i = length - EDGE;
      }
      parts.push(write(axis + 1, indent + " "));
    }
    const inner = axis === shape.length - 1;
    return `[${parts.join(inner ? ", " : ",\n" + indent + " ")}]`;
  };
  return write(0, "");
}

function visit(
  shape: Shape,
  show: (at: number) => void,
  strides: number[],
  axis: number,
  at: number,
): void {
  if (axis === shape.length) return show(at);
  for (let i = 0; i < shape[axis]!; i++) {
    if (shape[axis]! > LONG && i === EDGE) i = shape[axis]! - EDGE;
    visit(shape, show, strides, axis + 1, at + i * strides[axis]!);
  }
}

function formatNumber(value: number, single: boolean): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return String(value);
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return String(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(3);
  return value.toFixed(single ? 4 : 3);
}
