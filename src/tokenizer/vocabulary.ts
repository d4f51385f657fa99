/**
 * Ids, the bytes of their tokens, and the characters by which files write bytes.
 *
 * @module
 */

/** From ids to bytes, and from ids to text. */
export class Vocabulary {
  /** The number of tokens. */
  readonly size: number;

  /**
   * @param bytes the bytes of token 0, then those of token 1, and so on
   * @param starts where each token begins in `bytes`, and at the end the length of all: `size + 1`
   */
  constructor(readonly bytes: Uint8Array<ArrayBuffer>, readonly starts: Uint32Array) {
    this.size = starts.length - 1;
  }

  /** Creates the vocabulary of `tokens`, in their order. */
  static from(tokens: readonly Uint8Array[]): Vocabulary {
    const starts = new Uint32Array(tokens.length + 1);
    for (let id = 0; id < tokens.length; id++) starts[id + 1] = starts[id]! + tokens[id]!.length;
    const bytes = new Uint8Array(starts[tokens.length]!);
    for (let id = 0; id < tokens.length; id++) bytes.set(tokens[id]!, starts[id]);
    return new Vocabulary(bytes, starts);
  }

  /** Returns this vocabulary followed by `tokens`. */
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
   * Returns a copy of the bytes of one token.
   *
   * @throws {RangeError} if there is no such id
   */
  token(id: number): Uint8Array<ArrayBuffer> {
    if (!this.#has(id)) throw new RangeError(`id: expected ${this.#range()} but got ${id}`);
    return this.bytes.slice(this.starts[id], this.starts[id + 1]);
  }

  /**
   * Returns the bytes of many tokens, end to end.
   *
   * @throws {RangeError} if there is no such id; the message tells where it stands
   */
  join(ids: ArrayLike<number>): Uint8Array<ArrayBuffer> {
    const { bytes, starts } = this;
    let length = 0;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]!;
      if (!this.#has(id)) {
        throw new RangeError(`ids[${i}]: expected ${this.#range()} but got ${id}`);
      }
      length += starts[id + 1]! - starts[id]!;
    }
    const joined = new Uint8Array(length);
    let at = 0;
    for (let i = 0; i < ids.length; i++) {
      const end = starts[ids[i]! + 1]!;
      // Tokens are a few bytes long, so a loop is faster than calling `set`.
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

/** A growing list of ids. */
export class IdBuffer {
  /** The ids, with spare capacity after the first `length`. */
  data: Uint32Array<ArrayBuffer>;
  /** The number of ids. */
  length = 0;

  /** @param capacity initial capacity */
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

  /** Returns a copy of the ids. */
  toArray(): Uint32Array<ArrayBuffer> {
    return this.data.slice(0, this.length);
  }
}

/**
 * The character of each byte, by which files of byte-level tokenizers write tokens as text (Radford et al. 2019,
 * `encoder.py` of the code release): bytes that are printable in Latin-1 are themselves, the others are mapped in order
 * to U+0100 and up.
 */
export const BYTE_CHARACTERS: readonly string[] = makeCharacters();

const BYTES: ReadonlyMap<string, number> = new Map(
  BYTE_CHARACTERS.map((character, byte) => [character, byte]),
);

/** Returns the bytes of a text in this alphabet; undefined if it contains any other character. */
export function bytesOfAlphabet(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = BYTES.get(text[i]!);
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

/** Returns bytes as a text in this alphabet. */
export function textOfBytes(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += BYTE_CHARACTERS[byte];
  return text;
}

function makeCharacters(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
    return String.fromCharCode(printable ? byte : next++);
  });
}
