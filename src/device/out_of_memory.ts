/**
 * The out-of-memory error of both devices.
 *
 * @module
 */
import type { MemoryReport } from "./device.ts";
import { OutOfMemoryError } from "./errors.ts";

/** Says what the memory is for, such as "a tensor [3, 4] of f32". Called only when there is not enough memory. */
export type Purpose = () => string;

/** The error for a request of `bytes` that failed for the reason `why`, with the usage from `memory`. */
export function outOfMemory(
  bytes: number,
  why: string,
  memory: MemoryReport,
  purpose: Purpose = () => "a buffer",
): OutOfMemoryError {
  const { live, buffers, pooled } = memory;
  return new OutOfMemoryError(
    `No room for ${purpose()}, ${mebibytes(bytes)}: ${why}; ${mebibytes(live)} are in use in ` +
      `${buffers} buffer${buffers === 1 ? "" : "s"}, ${mebibytes(pooled)} are pooled. ` +
      `Free what each step made (\`using _scope = new Scope()\` around it, noGrad around evaluation), lower the ` +
      `batch size (and accumulate gradients over more batches), recompute activations, or lower the context or ` +
      `the size of the model`,
  );
}

/** Formats bytes like "147.4 MiB"; small sizes in bytes. */
export function mebibytes(bytes: number): string {
  if (bytes < 2 ** 20) return `${bytes.toLocaleString("en")} bytes`;
  const digits = { minimumFractionDigits: 1, maximumFractionDigits: 1 };
  return `${(bytes / 2 ** 20).toLocaleString("en", digits)} MiB`;
}
