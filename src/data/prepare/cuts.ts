// Where a text can be cut without a change of its tokens.

const NEWLINE = 0x0a;
const BLANK = 0x20;

/** Finds the last place to cut `bytes` and returns the length of the part before it; 0 if there is none. */
export type Cut = (bytes: Uint8Array) => number;

/** Cuts after the last line end. */
export function cutAtLine(bytes: Uint8Array): number {
  return bytes.lastIndexOf(NEWLINE) + 1;
}

/**
 * Cuts between a character that is not white space and a following blank or line end: there GPT-2's pattern always
 * begins a new word, so the tokens of the parts are those of the whole.
 */
export function cutAtWord(bytes: Uint8Array): number {
  for (let i = bytes.length - 1; i > 0; i--) {
    if (bytes[i] !== NEWLINE && bytes[i] !== BLANK) continue;
    let start = i - 1;
    while (start > 0 && i - start < 4 && (bytes[start]! & 0xc0) === 0x80) start--;
    if (!WHITE_SPACE.test(decoder.decode(bytes.subarray(start, i)))) return i;
  }
  return 0;
}

/**
 * Cuts before a blank and a letter that follow something else than white space, or between a line end and a letter: there
 * a new word begins in all patterns but GPT-2's and SmolLM's.
 */
export function cutBeforeWord(bytes: Uint8Array): number {
  for (let i = bytes.length - 1; i > 0; i--) {
    const isLine = bytes[i - 1] === NEWLINE;
    if (!isLine && bytes[i] !== BLANK) continue;
    const [at, end] = isLine ? [i, i + 4] : [i + 1, i + 5];
    if (!LETTER.test(decoder.decode(bytes.subarray(at, end)))) continue;
    let start = i - 1;
    while (start > 0 && i - start < 4 && (bytes[start]! & 0xc0) === 0x80) start--;
    if (isLine || !WHITE_SPACE.test(decoder.decode(bytes.subarray(start, i)))) return i;
  }
  return 0;
}

const LETTER = /^\p{L}/u;
const WHITE_SPACE = /[\s\p{White_Space}]/u;
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
