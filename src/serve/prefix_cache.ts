/**
 * What was read of earlier prompts, for later prompts with the same beginning.
 *
 * @module
 */
import type { KeyValueCache } from "../nn/key_value_cache.ts";

interface Entry {
  readonly ids: ArrayLike<number>;
  /** One row, of whole chunks. */
  readonly cache: KeyValueCache;
}

/**
 * Keys and values of prompts that were read in chunks of a fixed size, least recently used first. Only whole chunks are
 * kept: they were computed by the same launches that any other prompt with this beginning would make, so a prompt gets
 * the same numbers to the last bit whether it finds them here or not.
 */
export class PrefixCache implements Disposable {
  readonly #chunk: number;
  #entries: Entry[] = [];

  /** Creates an empty cache for chunks of `chunk` tokens. */
  constructor(chunk: number) {
    this.#chunk = chunk;
  }

  /** The bytes of all keys and values. */
  get bytes(): number {
    return this.#entries.reduce((sum, { cache }) => sum + cache.bytes, 0);
  }

  /**
   * Returns a cache with the longest known beginning of a prompt, which then belongs to the caller; undefined if none
   * is known. The prompt's last token is always left to be read, since its scores are needed.
   */
  take(prompt: ArrayLike<number>): KeyValueCache | undefined {
    let best: Entry | undefined;
    let length = 0;
    for (const entry of this.#entries) {
      const common = this.#whole(commonLength(entry.ids, prompt, prompt.length - 1));
      if (common > length) [best, length] = [entry, common];
    }
    if (!best) return undefined;
    this.#entries = this.#entries.filter((entry) => entry !== best);
    // A prompt that continues all of it takes the cache over and returns it longer.
    if (length === best.cache.length) return best.cache;
    this.#entries.push(best);
    return best.cache.prefix(length);
  }

  /** Keeps what was read of a prompt and takes ownership of the cache. */
  put(prompt: ArrayLike<number>, cache: KeyValueCache): void {
    const length = this.#whole(cache.length);
    cache.truncate(length);
    const covers = (one: Entry, ids: ArrayLike<number>, count: number) =>
      one.cache.length >= count && commonLength(one.ids, ids, count) === count;
    if (length === 0 || this.#entries.some((entry) => covers(entry, prompt, length))) {
      cache.dispose();
      return;
    }
    const added = { ids: Uint32Array.from(prompt).subarray(0, length), cache };
    this.#entries = this.#entries.filter((entry) => {
      const covered = covers(added, entry.ids, entry.cache.length);
      if (covered) entry.cache.dispose();
      return !covered;
    });
    this.#entries.push(added);
  }

  /** Frees the least recently used entry. Returns false if nothing is left. */
  evict(): boolean {
    const oldest = this.#entries.shift();
    oldest?.cache.dispose();
    return oldest !== undefined;
  }

  /** Frees everything. */
  [Symbol.dispose](): void {
    while (this.evict());
  }

  #whole(length: number): number {
    return Math.floor(length / this.#chunk) * this.#chunk;
  }
}

/** Returns how many of the first ids are equal, at most `most`. */
function commonLength(a: ArrayLike<number>, b: ArrayLike<number>, most: number): number {
  const end = Math.min(a.length, b.length, most);
  let length = 0;
  while (length < end && a[length] === b[length]) length++;
  return length;
}
