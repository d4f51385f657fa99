/**
 * Ctrl-C, handled so that nothing is lost.
 *
 * @module
 */

const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM"];

/**
 * Notices Ctrl-C (and SIGTERM) and lets the program finish its step; the second one ends the process at
 * once. Dispose of it to get the usual behaviour back.
 */
export class Interrupt implements Disposable {
  #requested = false;
  readonly #listener: () => void;

  /** `onFirst` runs when the first signal comes, to tell the person what happens now. */
  constructor(onFirst: () => void = () => {}) {
    this.#listener = () => {
      if (this.#requested) Deno.exit(130);
      this.#requested = true;
      onFirst();
    };
    for (const signal of SIGNALS) Deno.addSignalListener(signal, this.#listener);
  }

  /** True once a signal came. */
  get requested(): boolean {
    return this.#requested;
  }

  /** Stops listening. */
  [Symbol.dispose](): void {
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, this.#listener);
  }
}
