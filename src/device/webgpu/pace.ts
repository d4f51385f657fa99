/**
 * How long launches will keep the GPU busy, so that no submit holds it for long: drivers reset a GPU that does not answer
 * for a second or two, and a desktop on the same GPU stutters long before.
 *
 * @module
 */

/** The milliseconds that one submit may take, unless a single launch takes longer. */
export const MAX_SUBMIT = 100;

/** A slow GPU, before one is measured: operations and bytes in a millisecond. */
const FLOPS = 1e9;
const BYTES = 5e7;
/** Waits that began with less work than this many estimated milliseconds say nothing of the GPU's pace. */
const MIN_MEASURED = 5;

/** Estimates times from operations and bytes, and corrects itself by what waits have shown. */
export class Pace {
  /** Estimated by measured milliseconds of the rates above. */
  #factor = 1;

  /** The milliseconds that a launch will take. */
  estimate(flops: number, bytes: number): number {
    return this.#factor * Math.max(flops / FLOPS, bytes / BYTES);
  }

  /** Told that work of so many estimated milliseconds took `measured` until the GPU had nothing left to do. */
  measured(estimated: number, measured: number): void {
    if (estimated < MIN_MEASURED) return;
    // Half way to the new ratio, by at most a factor of 4: a wait may have begun late.
    const ratio = Math.min(4, Math.max(1 / 4, measured / estimated));
    this.#factor *= Math.sqrt(ratio);
  }
}
