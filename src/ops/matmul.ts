/**
 * The matrix product.
 *
 * @module
 */
import { broadcastShapes, formatShape, sizeOf } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, sameDevice, sameDType } from "./check.ts";
import { launchMatmul } from "./matmul_launch.ts";
import { reshape } from "./reshape.ts";
import { sumTo } from "./reduce_launch.ts";

/** Options of {@linkcode matmul}. */
export interface MatmulOptions {
  /** Use `a` with its last two axes swapped. Default: false. */
  readonly transposeA?: boolean;
  /** Use `b` with its last two axes swapped. Default: false. */
  readonly transposeB?: boolean;
}

/**
 * `op(a) op(b)`: (..., M, K) times (..., K, N) gives (..., M, N); the axes before the last two broadcast.
 * A transposed operand is stored as (..., K, M) or (..., N, K). A tensor of one axis is a row on the left
 * and a column on the right, and that axis is left out of the result.
 *
 * Throws a `TypeError` when the inner lengths differ, or device or dtype.
 *
 * @example A product
 * ```ts
 * import { CpuDevice, matmul, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using a = tensor([[1, 2], [3, 4]], { device });
 * using y = matmul(a, a, { transposeB: true });
 * assert.deepEqual(await y.toArray(), [[5, 11], [11, 25]]);
 * ```
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeA = false, transposeB = false } = options;
  sameDevice("matmul", a, b);
  checkFloat("matmul", a, b);
  sameDType("matmul", a, b);
  if (a.shape.length === 0 || b.shape.length === 0) {
    throw new TypeError(`matmul: expected at least one axis but got ${shapes(a, b, false, false)}`);
  }
  if (a.shape.length === 1) {
    const y = matmul(reshape(a, [1, a.size]), b, { transposeB });
    return reshape(y, [...y.shape.slice(0, -2), ...y.shape.slice(-1)]);
  }
  if (b.shape.length === 1) {
    const y = matmul(a, reshape(b, [b.size, 1]), { transposeA });
    return reshape(y, y.shape.slice(0, -1));
  }
  if (b.shape.length === 2 && a.shape.length > 2 && !transposeA) {
    // One matrix for the whole batch: its rows are the rows of one large product.
    const rows = sizeOf(a.shape.slice(0, -1));
    const y = product(reshape(a, [rows, a.shape.at(-1)!]), b, false, transposeB);
    return reshape(y, [...a.shape.slice(0, -1), y.shape[1]]);
  }
  return product(a, b, transposeA, transposeB);
}

/** The product of operands with two or more axes each. */
function product(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor {
  const [m, k] = matrix(a, transposeA);
  const [inner, n] = matrix(b, transposeB);
  if (k !== inner) {
    throw new TypeError(
      `matmul: the inner lengths differ, ${k} against ${inner}, in ${
        shapes(a, b, transposeA, transposeB)
      }`,
    );
  }
  const batch = broadcastShapes("matmul", a.shape.slice(0, -2), b.shape.slice(0, -2));
  const y = Tensor.empty(a.device, [...batch, m, n], a.dtype);
  launchMatmul({
    m,
    n,
    k,
    a,
    transposeA,
    b,
    transposeB,
    c: y,
    batch: { shape: batch, a: a.shape, b: b.shape },
  });
  return record("matmul", [a, b], y, [a, b], (dOut, [a, b], [wantA, wantB]) => [
    wantA
      ? sumTo(
        transposeA ? product(b, dOut, transposeB, true) : product(dOut, b, false, !transposeB),
        a.shape,
      )
      : null,
    wantB
      ? sumTo(
        transposeB ? product(dOut, a, true, transposeA) : product(a, dOut, !transposeA, false),
        b.shape,
      )
      : null,
  ]);
}

/** Rows and columns of an operand after its transposition. */
function matrix(x: Tensor, transposed: boolean): [number, number] {
  const [rows, columns] = x.shape.slice(-2);
  return transposed ? [columns, rows] : [rows, columns];
}

function shapes(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): string {
  const one = (x: Tensor, transposed: boolean) =>
    formatShape(x.shape) + (transposed ? " transposed" : "");
  return `${one(a, transposeA)} times ${one(b, transposeB)}`;
}
