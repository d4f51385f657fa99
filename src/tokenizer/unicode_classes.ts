/**
 * Letters, numbers and white space, looked up from UTF-8 bytes without a regular expression.
 *
 * The tables hold no Unicode data of their own: a page of 256 code points is filled from the
 * engine's `\p{..}` classes when a text first needs it.
 *
 * @module
 */

/** Neither letter, number nor white space. */
export const OTHER = 0;
/** `\p{L}` */
export const LETTER = 1;
/** `\p{N}` */
export const NUMBER = 2;
/**
 * `\p{White_Space}`, which is what `\s` means to tiktoken (Rust). JavaScript's own `\s` differs:
 * it has U+FEFF and lacks U+0085.
 */
export const SPACE = 3;

const PAGE_BITS = 8;
const pages: Array<Uint8Array | undefined> = new Array(0x110000 >> PAGE_BITS);

function classifySlowly(codePoint: number): number {
  const character = String.fromCodePoint(codePoint);
  if (/^\p{L}$/u.test(character)) return LETTER;
  if (/^\p{N}$/u.test(character)) return NUMBER;
  return /^\p{White_Space}$/u.test(character) ? SPACE : OTHER;
}

function fillPage(page: number): Uint8Array {
  const classes = new Uint8Array(1 << PAGE_BITS);
  for (let i = 0; i < classes.length; i++) classes[i] = classifySlowly((page << PAGE_BITS) + i);
  pages[page] = classes;
  return classes;
}

/** The class of every ASCII byte. */
const ASCII_CLASS: Uint8Array = fillPage(0).slice(0, 128);

/**
 * The class and the byte length of the character that begins at `bytes[at]`, packed as
 * `length * 4 + class`. `bytes` must be valid UTF-8 and `at` the first byte of a character.
 */
export function classAndLength(bytes: Uint8Array, at: number): number {
  const lead = bytes[at]!;
  if (lead < 0x80) return 4 | ASCII_CLASS[lead]!;
  let codePoint: number;
  let length: number;
  if (lead < 0xe0) {
    length = 2;
    codePoint = (lead & 0x1f) << 6 | bytes[at + 1]! & 0x3f;
  } else if (lead < 0xf0) {
    length = 3;
    codePoint = (lead & 0x0f) << 12 | (bytes[at + 1]! & 0x3f) << 6 | bytes[at + 2]! & 0x3f;
  } else {
    length = 4;
    codePoint = (lead & 0x07) << 18 | (bytes[at + 1]! & 0x3f) << 12 |
      (bytes[at + 2]! & 0x3f) << 6 | bytes[at + 3]! & 0x3f;
  }
  const page = pages[codePoint >> PAGE_BITS] ?? fillPage(codePoint >> PAGE_BITS);
  return length << 2 | page[codePoint & (1 << PAGE_BITS) - 1]!;
}

/** The end of the run of characters of class `wanted` that begins at `at`; `at` if there is none. */
export function skipClass(bytes: Uint8Array, at: number, end: number, wanted: number): number {
  while (at < end) {
    const byte = bytes[at]!;
    if (byte < 0x80) {
      if (ASCII_CLASS[byte] !== wanted) return at;
      at++;
    } else {
      const packed = classAndLength(bytes, at);
      if ((packed & 3) !== wanted) return at;
      at += packed >> 2;
    }
  }
  return at;
}
