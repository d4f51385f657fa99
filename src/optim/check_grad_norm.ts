/**
 * The error for gradients that are not finite.
 *
 * @module
 */
import { entriesOf, type NamedParameters } from "./parameters.ts";

/** A gradient contains NaN or infinity, so the step was skipped. */
export class NonFiniteGradientError extends Error {
  /** `NonFiniteGradientError`. */
  override readonly name = "NonFiniteGradientError";

  /** The names of all parameters whose gradients are not finite. */
  readonly parameters: readonly string[];

  /** Creates an error about these parameters. */
  constructor(message: string, parameters: readonly string[]) {
    super(message);
    this.parameters = parameters;
  }
}

/**
 * Resolves if `norm`, as read back, is finite. Otherwise reads the gradients, which is slow, and rejects with a
 * {@linkcode NonFiniteGradientError} that names the parameters whose gradients are not finite, with the number of such
 * elements and the first of them. Call it before the gradients are freed.
 *
 * @example
 * ```ts
 * import { checkGradNorm, CpuDevice, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const bias = tensor([0, 0], { device });
 * bias.grad = tensor([1, NaN], { device });
 * await assert.rejects(checkGradNorm(NaN, { bias }), /"bias" \[2\].*1 of 2 elements, the first NaN at 1/);
 * ```
 */
export async function checkGradNorm(norm: number, parameters: NamedParameters): Promise<void> {
  if (Number.isFinite(norm)) return;
  const names: string[] = [];
  const details: string[] = [];
  for (const [name, { grad, shape }] of entriesOf(parameters)) {
    if (!grad) continue;
    const values = await grad.data();
    const first = values.findIndex((value: number) => !Number.isFinite(value));
    if (first < 0) continue;
    let count = 0;
    for (const value of values) if (!Number.isFinite(value)) count++;
    names.push(name);
    if (details.length < 3) {
      details.push(
        `"${name}" [${shape.join(", ")}] (${count} of ${values.length} elements, ` +
          `the first ${values[first]} at ${first})`,
      );
    }
  }
  const where = names.length === 0
    ? "every gradient is finite, but the sum of their squares overflows"
    : `not finite is the gradient of ${details.join(", ")}` +
      (names.length > 3 ? ` and ${names.length - 3} more` : "");
  throw new NonFiniteGradientError(
    `checkGradNorm: expected a finite gradient norm but got ${norm}; the step changed nothing: ${where}`,
    names,
  );
}
