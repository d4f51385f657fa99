/**
 * Ends a stream of text at given strings.
 *
 * @module
 */

/**
 * Passes text through until one of the stop strings is complete. Text that may be the beginning of one is held back
 * until the next pieces decide.
 */
export class StopStrings {
  readonly #stops: readonly string[];
  #held = "";
  #found = false;

  /** Watches for these strings. Throws a `RangeError` for an empty one. */
  constructor(stops: readonly string[]) {
    if (stops.includes("")) {
      throw new RangeError(
        "StopStrings: expected stop strings of one character or more but got an empty one",
      );
    }
    this.#stops = stops;
  }

  /** True once a stop string was found: the text ends there. */
  get found(): boolean {
    return this.#found;
  }

  /** Returns the text that may be shown once `piece` has been added. */
  push(piece: string): string {
    if (this.#found) return "";
    const text = this.#held + piece;
    const at = Math.min(
      ...this.#stops.map((stop) => text.indexOf(stop)).filter((index) => index >= 0),
    );
    this.#found = at < Infinity;
    const end = this.#found ? at : text.length - this.#begun(text);
    this.#held = this.#found ? "" : text.slice(end);
    return text.slice(0, end);
  }

  /** Returns the text still held back, when the text ends. */
  flush(): string {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }

  /** Returns how many characters at the end of `text` begin a stop string. */
  #begun(text: string): number {
    const longest = Math.max(0, ...this.#stops.map((stop) => stop.length - 1));
    for (let size = Math.min(longest, text.length); size > 0; size--) {
      const end = text.slice(-size);
      if (this.#stops.some((stop) => stop.startsWith(end))) return size;
    }
    return 0;
  }
}
