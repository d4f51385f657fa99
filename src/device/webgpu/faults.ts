/**
 * WebGPU does not throw: it reports errors later, through error scopes and events. They are collected here, and thrown
 * where the program waits for the device anyway.
 *
 * @module
 */
import type { DeviceError } from "../errors.ts";

/** Errors that were reported but not yet thrown. */
export class Faults {
  #errors: DeviceError[] = [];
  #scopes = new Set<Promise<void>>();

  /** Keeps an error for the next {@linkcode check}. */
  note(error: DeviceError): void {
    this.#errors.push(error);
  }

  /** Tracks an error scope that is being popped. `describe` turns the error it caught into an exception. */
  watch(
    scope: Promise<GPUError | null>,
    describe: (error: GPUError) => DeviceError | undefined,
  ): void {
    const done = scope.then((error) => {
      const described = error && describe(error);
      if (described) this.note(described);
    }, () => {/* the device is gone, which `lost` tells */}).finally(() =>
      this.#scopes.delete(done)
    );
    this.#scopes.add(done);
  }

  /** Throws the first error, once all error scopes have reported. */
  async check(): Promise<void> {
    while (this.#scopes.size > 0) await Promise.all(this.#scopes);
    const [first, ...more] = this.#errors;
    this.#errors = [];
    if (!first) return;
    if (more.length > 0) first.message += `\n(and ${more.length} more errors after it)`;
    throw first;
  }
}
