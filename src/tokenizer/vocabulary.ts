/**
 * The bytes of every token, end to end in one array.
 *
 * @module
 */

/** From ids to bytes, and from ids to text. */
export class Vocabulary {
  /** Number of tokens. */
  readonly size: number;

  /**
   * @param bytes the bytes of token 0, then those of token 1, and so on
   * @param starts where each token begins in `bytes`, and at the end the length of all: `size + 1`
   */
  constructor(readonly bytes: Uint8Array<ArrayBuffer>, readonly starts: Uint32Array) {
    this.size = starts.length - 1;
  }

  /** The vocabulary of `tokens`, in their order. */
  static from(tokens: readonly Uint8Array[]): Vocabulary {
    const starts = new Uint32Array(tokens.length + 1);
    for (let id = 0; id < tokens.length; id++) starts[id + 1] = starts[id]! + tokens[id]!.length;
    const bytes = new Uint8Array(starts[tokens.length]!);
    for (let id = 0; id < tokens.length; id++) bytes.set(tokens[id]!, starts[id]);
    return new Vocabulary(bytes, starts);
  }

  /** This vocabulary with `tokens` after it. */
  extended(tokens: readonly Uint8Array[]): Vocabulary {
    const added = Vocabulary.from(tokens);
    const bytes = new Uint8Array(this.bytes.length + added.bytes.length);
    bytes.set(this.bytes);
    bytes.set(added.bytes, this.bytes.length);
    const starts = new Uint32Array(this.size + added.size + 1);
    starts.set(this.starts);
    for (let i = 1; i <= added.size; i++) {
      starts[this.size + i] = this.bytes.length + added.starts[i]!;
    }
    return new Vocabulary(bytes, starts);
  }

  /**
   * The bytes of one token, a copy.
   *
   * @throws {RangeError} if there is no such id
   */
  token(id: number): Uint8Array<ArrayBuffer> {
    if (!this.#has(id)) throw new RangeError(`token id is ${id}, expected ${this.#range()}`);
    return this.bytes.slice(this.starts[id], this.starts[id + 1]);
  }

  /**
   * The bytes of many tokens, end to end.
   *
   * @throws {RangeError} if there is no such id; the message tells where it stands
   */
  join(ids: ArrayLike<number>): Uint8Array<ArrayBuffer> {
    const { bytes, starts } = this;
    let length = 0;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]!;
      if (!this.#has(id)) throw new RangeError(`ids[${i}] is ${id}, expected ${this.#range()}`);
      length += starts[id + 1]! - starts[id]!;
    }
    const joined = new Uint8Array(length);
    let at = 0;
    for (let i = 0; i < ids.length; i++) {
      const end = starts[ids[i]! + 1]!;
      // Tokens are a few bytes long: a loop beats a call of `set`.
      for (let from = starts[ids[i]!]!; from < end; from++) joined[at++] = bytes[from]!;
    }
    return joined;
  }

  #has(id: number): boolean {
    return Number.isInteger(id) && id >= 0 && id < this.size;
  }

  #range(): string {
    return `an integer from 0 to ${this.size - 1}`;
  }
}
