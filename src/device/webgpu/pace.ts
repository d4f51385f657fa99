/**
 * Estimates how long launches keep the GPU busy, so that no submit holds it for long: drivers reset a GPU that does not
 * respond for a second or two, and a desktop on the same GPU stutters long before.
 *
 * @module
 */

/** Maximum estimated milliseconds of one submit, unless a single launch takes longer. */
export const MAX_SUBMIT = 100;

/** The assumed speed of a slow GPU, before any measurement: operations and bytes per millisecond. */
const FLOPS = 1e9;
const BYTES = 5e7;
/** Waits for less work than this many estimated milliseconds say nothing about the GPU's speed. */
const MIN_MEASURED = 5;

/** Estimates times from operations and bytes, and corrects itself by measurements. */
export class Pace {
  /** Correction factor of the estimates. */
  #factor = 1;

  /** The estimated milliseconds of a launch. */
  estimate(flops: number, bytes: number): number {
    return this.#factor * Math.max(flops / FLOPS, bytes / BYTES);
  }

  /**
   * Takes the `measured` milliseconds until the GPU was idle after work that was estimated to take `estimated`
   * milliseconds.
   */
  measured(estimated: number, measured: number): void {
    if (estimated < MIN_MEASURED) return;
    // Half way to the new ratio, by a factor of at most 4: a wait may have begun late.
    const ratio = Math.min(4, Math.max(1 / 4, measured / estimated));
    this.#factor *= Math.sqrt(ratio);
  }
}
