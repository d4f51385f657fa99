/**
 * A binary heap of pairs of numbers, lowest first: of the merges of a long word by rank and position, and of the pairs
 * that training counts. It uses typed arrays and no comparison function, which would take three times as long.
 */
export class Heap {
  /** The number of entries. */
  size = 0;
  #keys: Float64Array<ArrayBuffer>;
  #ties: Float64Array<ArrayBuffer>;

  /** @param capacity initial capacity */
  constructor(capacity: number) {
    this.#keys = new Float64Array(Math.max(1, capacity));
    this.#ties = new Float64Array(this.#keys.length);
  }

  /** The first number of the top entry, if there is one. */
  get key(): number {
    return this.#keys[0]!;
  }

  /** The second number of the top entry, which breaks ties. */
  get tie(): number {
    return this.#ties[0]!;
  }

  /** Adds an entry. */
  push(key: number, tie: number): void {
    if (this.size === this.#keys.length) this.#grow();
    const keys = this.#keys, ties = this.#ties;
    let at = this.size++;
    while (at > 0) {
      const parent = at - 1 >> 1;
      const above = keys[parent]!;
      if (above < key || (above === key && ties[parent]! <= tie)) break;
      keys[at] = above;
      ties[at] = ties[parent]!;
      at = parent;
    }
    keys[at] = key;
    ties[at] = tie;
  }

  /** Removes the top entry. */
  pop(): void {
    this.size--;
    this.replace(this.#keys[this.size]!, this.#ties[this.size]!);
  }

  /** Replaces the top entry. */
  replace(key: number, tie: number): void {
    const keys = this.#keys, ties = this.#ties, size = this.size;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= size) break;
      let below = keys[child]!;
      if (child + 1 < size) {
        const other = keys[child + 1]!;
        if (other < below || (other === below && ties[child + 1]! < ties[child]!)) {
          child++;
          below = other;
        }
      }
      if (below > key || (below === key && ties[child]! >= tie)) break;
      keys[at] = below;
      ties[at] = ties[child]!;
      at = child;
    }
    keys[at] = key;
    ties[at] = tie;
  }

  #grow(): void {
    const keys = new Float64Array(this.size * 2), ties = new Float64Array(this.size * 2);
    keys.set(this.#keys);
    ties.set(this.#ties);
    this.#keys = keys;
    this.#ties = ties;
  }
}
