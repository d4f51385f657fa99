/**
 * Requests that wait for their turn.
 *
 * @module
 */

/** A queue in which clients take turns: first in, first out for each of them, one of each client at a time. */
export class FairQueue<T extends { readonly client: string }> {
  /** What goes before all others. */
  readonly #first: T[] = [];
  /** What waits for each client; the next one's turn is that of the first. */
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

  /** Puts an item back that had its turn: it goes before all others. */
  putBack(item: T): void {
    this.#first.unshift(item);
    this.#size++;
  }

  /** The item whose turn it is. */
  peek(): T | undefined {
    if (this.#first.length) return this.#first[0];
    const [own] = this.#clients.values();
    return own?.[0];
  }

  /** Takes out the item whose turn it is; its client comes after all others then. */
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

  /** Takes an item out, wherever it stands. */
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

  /** Takes everything out. */
  clear(): T[] {
    const all = [...this.#first, ...[...this.#clients.values()].flat()];
    this.#first.length = this.#size = 0;
    this.#clients.clear();
    return all;
  }
}
