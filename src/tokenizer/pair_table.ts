/** A map from pairs of ids to integers. */
import { hashPair } from "./hash.ts";

/** Open-addressing map from pairs of ids to an integer from 0 up. */
export class PairTable {
  /** Number of pairs. */
  size = 0;
  #mask: number;
  #left: Int32Array;
  #right: Int32Array;
  /** Value + 1; 0 is a free slot. */
  #values: Int32Array;

  /** An empty table. */
  constructor() {
    const slots = 1 << 10;
    this.#mask = slots - 1;
    this.#left = new Int32Array(slots);
    this.#right = new Int32Array(slots);
    this.#values = new Int32Array(slots);
  }

  /** The value of a pair, or -1. */
  get(left: number, right: number): number {
    return this.#values[this.#slot(left, right)]! - 1;
  }

  /** Sets the value of a pair. */
  set(left: number, right: number, value: number): void {
    const slot = this.#slot(left, right);
    const isNew = this.#values[slot] === 0;
    this.#left[slot] = left;
    this.#right[slot] = right;
    this.#values[slot] = value + 1;
    if (isNew && ++this.size * 2 > this.#mask) this.#grow();
  }

  #slot(left: number, right: number): number {
    let slot = hashPair(left, right) & this.#mask;
    while (
      this.#values[slot] !== 0 && (this.#left[slot] !== left || this.#right[slot] !== right)
    ) slot = slot + 1 & this.#mask;
    return slot;
  }

  #grow(): void {
    const left = this.#left, right = this.#right, values = this.#values;
    const slots = values.length * 2;
    this.#mask = slots - 1;
    this.#left = new Int32Array(slots);
    this.#right = new Int32Array(slots);
    this.#values = new Int32Array(slots);
    for (let i = 0; i < values.length; i++) {
      if (values[i] === 0) continue;
      const slot = this.#slot(left[i]!, right[i]!);
      this.#left[slot] = left[i]!;
      this.#right[slot] = right[i]!;
      this.#values[slot] = values[i]!;
    }
  }
}
