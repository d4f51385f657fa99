/** A binary heap of numbers: of the pairs that training counts, and of the merges of a long word. */
export class Heap {
  readonly #items: number[] = [];
  readonly #before: (a: number, b: number) => boolean;

  /** @param before whether `a` comes out before `b` */
  constructor(before: (a: number, b: number) => boolean) {
    this.#before = before;
  }

  /** The item that comes first; undefined if there is none. */
  get top(): number | undefined {
    return this.#items[0];
  }

  /** Puts an item in. */
  push(item: number): void {
    const items = this.#items, before = this.#before;
    let at = items.push(item) - 1;
    while (at > 0) {
      const parent = at - 1 >> 1;
      if (!before(item, items[parent]!)) break;
      items[at] = items[parent]!;
      at = parent;
    }
    items[at] = item;
  }

  /** Takes out the item that comes first; undefined if there is none. */
  pop(): number | undefined {
    const top = this.#items[0];
    const last = this.#items.pop();
    if (this.#items.length > 0) this.replaceTop(last!);
    return top;
  }

  /** Puts `item` in the place of the one that comes first, and moves it to where it belongs. */
  replaceTop(item: number): void {
    const items = this.#items, before = this.#before, size = items.length;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= size) break;
      if (child + 1 < size && before(items[child + 1]!, items[child]!)) child++;
      if (!before(items[child]!, item)) break;
      items[at] = items[child]!;
      at = child;
    }
    items[at] = item;
  }
}
