/** A growing list of ids. */
export class IdBuffer {
  /** The ids, and room for more after `length` of them. */
  data: Uint32Array<ArrayBuffer>;
  /** Number of ids. */
  length = 0;

  /** @param capacity room to begin with */
  constructor(capacity: number) {
    this.data = new Uint32Array(capacity);
  }

  /** Makes room for `count` more. */
  reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.data.length) return;
    const grown = new Uint32Array(Math.max(needed, this.data.length * 2));
    grown.set(this.data.subarray(0, this.length));
    this.data = grown;
  }

  /** Appends one id. */
  push(id: number): void {
    if (this.length === this.data.length) this.reserve(1);
    this.data[this.length++] = id;
  }

  /** A copy of the ids. */
  toArray(): Uint32Array<ArrayBuffer> {
    return this.data.slice(0, this.length);
  }
}
