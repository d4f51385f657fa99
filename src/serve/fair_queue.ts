/**
 * A fair queue for requests.
 *
 * @module
 */

/** A queue in which clients take turns: first in, first out for each client, one item of each client at a time. */
export class FairQueue<T extends { readonly client: string }> {
  /** Items that come before all others. */
  readonly #first: T[] = [];
  /** The waiting items of each client; the first client's turn is next. */
  readonly #clients = new Map<string, T[]>();
  #size = 0;

  /** The number of items. */
  get size(): number {
    return this.#size;
  }

  /** Adds an item behind those of its client. */
  push(item: T): void {
    const own = this.#clients.get(item.client);
    if (own) own.push(item);
    else this.#clients.set(item.client, [item]);
    this.#size++;
  }

  /** Puts back an item that had its turn: it comes before all others. */
  putBack(item: T): void {
    this.#first.unshift(item);
    this.#size++;
  }

  /** Returns the next item. */
  peek(): T | undefined {
    if (this.#first.length) return this.#first[0];
    const [own] = this.#clients.values();
    return own?.[0];
  }

  /** Removes the next item; its client then comes after all others. */
  shift(): T | undefined {
    const item = this.peek();
    if (!item) return undefined;
    this.#size--;
    if (this.#first.length) return this.#first.shift();
    const own = this.#clients.get(item.client)!;
    own.shift();
    this.#clients.delete(item.client);
    if (own.length) this.#clients.set(item.client, own);
    return item;
  }

  /** Removes an item, wherever it is. */
  remove(item: T): void {
    const own = this.#clients.get(item.client);
    for (const list of own ? [this.#first, own] : [this.#first]) {
      const at = list.indexOf(item);
      if (at < 0) continue;
      list.splice(at, 1);
      this.#size--;
    }
    if (own?.length === 0) this.#clients.delete(item.client);
  }

  /** Removes and returns all items. */
  clear(): T[] {
    const all = [...this.#first, ...[...this.#clients.values()].flat()];
    this.#first.length = this.#size = 0;
    this.#clients.clear();
    return all;
  }
}
