/**
 * An estimate of the time that something in progress still takes.
 *
 * @module
 */

/** Milliseconds between two marks: a later call with the same one would add nothing. */
const MARK_EVERY = 1000;

/**
 * Estimates the time left from the recent speed, so that it does not depend for long on what was slow or idle before:
 * an earlier session, a machine asleep.
 *
 * @example
 * ```ts
 * import { TimeLeft } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * const timeLeft = new TimeLeft(90); // a resumed run, 90 steps of which are done
 * assert.ok(Number.isNaN(timeLeft.after(90, 100)));
 * assert.ok(timeLeft.after(95, 100) < 60);
 * ```
 */
export class TimeLeft {
  readonly #marks: { readonly time: number; readonly done: number }[];
  readonly #window: number;

  /**
   * Begins now, with `done` units done before (default: 0). The speed is that since the last `window` calls of `after`
   * (default: 60), of which those within a second count as one.
   */
  constructor(done?: number, window?: number) {
    this.#marks = [{ time: performance.now(), done: done ?? 0 }];
    this.#window = window ?? 60;
  }

  /** Returns the seconds left once `done` units of `total` are done; NaN while it is unknown. */
  after(done: number, total: number): number {
    const now = performance.now();
    const first = this.#marks[0]!, last = this.#marks.at(-1)!;
    if (now - last.time >= MARK_EVERY) {
      this.#marks.push({ time: now, done });
      if (this.#marks.length > this.#window) this.#marks.shift();
    }
    const some = done - first.done;
    return some > 0 ? (now - first.time) / 1000 / some * (total - done) : NaN;
  }
}
