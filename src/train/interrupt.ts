/**
 * Handles Ctrl-C so that nothing is lost.
 *
 * @module
 */

/** The signals that ask a program to end, with their numbers. */
function signals(): [Deno.Signal, number][] {
  return Deno.build.os === "windows"
    ? [["SIGINT", 2], ["SIGBREAK", 21]]
    : [["SIGHUP", 1], ["SIGINT", 2], ["SIGTERM", 15]];
}

/**
 * Catches Ctrl-C, `kill` and a closed terminal (SIGINT, SIGTERM, SIGHUP), so that the program can finish its step and
 * save; a second signal ends the process at once. A SIGHUP that `nohup` ignores stays ignored if reading
 * `/proc/self/status` is allowed. Dispose of it to restore the usual behaviour.
 *
 * Signals arrive in turns of the event loop; reading a tensor gives it one, on every device.
 *
 * @example
 * ```ts
 * import { Interrupt } from "@dinograd/dinograd";
 *
 * using interrupt = new Interrupt((signal) => console.error(`${signal}: finishing this step ...`));
 * for (let step = 0; step < 10 && !interrupt.requested; step++) {
 *   // train
 * }
 * if (interrupt.requested) Deno.exitCode = interrupt.exitCode;
 * ```
 */
export class Interrupt implements Disposable {
  readonly #stopped = new AbortController();
  readonly #listeners: readonly (readonly [Deno.Signal, () => void])[];
  #exitCode = 0;

  /** `onFirst` runs when the first signal arrives, to announce what happens next. */
  constructor(onFirst?: (signal: Deno.Signal) => void) {
    this.#listeners = signals()
      .filter(([signal]) => signal !== "SIGHUP" || !isHangUpIgnored())
      .map(([signal, number]) => [signal, () => {
        if (this.requested) Deno.exit(128 + number);
        this.#exitCode = 128 + number;
        this.#stopped.abort();
        onFirst?.(signal);
      }]);
    for (const [signal, listener] of this.#listeners) Deno.addSignalListener(signal, listener);
  }

  /** True once a signal has arrived. */
  get requested(): boolean {
    return this.signal.aborted;
  }

  /** Aborted by the first signal. */
  get signal(): AbortSignal {
    return this.#stopped.signal;
  }

  /** The exit code that shells expect: 128 plus the signal's number, 130 after Ctrl-C. 0 before any signal. */
  get exitCode(): number {
    return this.#exitCode;
  }

  /** Stops listening. */
  [Symbol.dispose](): void {
    for (const [signal, listener] of this.#listeners) Deno.removeSignalListener(signal, listener);
  }
}

/** Whether the process was started under `nohup`, which listening would undo. */
function isHangUpIgnored(): boolean {
  if (Deno.build.os !== "linux") return false;
  const path = "/proc/self/status";
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") return false;
  try {
    const ignored = /^SigIgn:\s*[0-9a-f]*([0-9a-f])$/m.exec(Deno.readTextFileSync(path))?.[1];
    return parseInt(ignored ?? "0", 16) % 2 === 1; // SIGHUP is the lowest bit
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return false; // --allow-read alone does not suffice
    throw error;
  }
}
