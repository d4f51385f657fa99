/**
 * The patterns that split a text into words before byte pairs are merged. Most are implemented by hand over UTF-8
 * bytes: about ten times as fast as the regular expressions, against which the tests check them.
 *
 * @module
 */

/**
 * GPT-2's pattern.
 *
 * Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), its code
 * release `gpt-2/src/encoder.py`. `\s` there means the Unicode property White_Space.
 */
export const GPT2_PATTERN: string =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/**
 * GPT-4's pattern: unlike GPT-2's it ignores the case of contractions, lets any one mark precede a word, splits numbers
 * into groups of three digits and keeps line ends together.
 *
 * Source: tiktoken's `cl100k_base`, in `tiktoken_ext/openai_public.py`.
 */
export const GPT4_PATTERN: string = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" +
  "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** Qwen's pattern: GPT-4's, but with every digit by itself. */
export const QWEN2_PATTERN: string = GPT4_PATTERN.replace("{1,3}", "");

/** `[^\\r\\n\\p{L}\\p{N}]?`, upper case and then lower case, where letters without case count as both. */
const CASED =
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|" +
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*";
const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?";
const REST = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** The pattern of Mistral's Tekken: words end where the case changes, and every digit is by itself. */
export const TEKKEN_PATTERN: string = `${CASED}|\\p{N}|${REST}`;

/** GPT-4o's pattern, also used by Phi 4. Source: tiktoken's `o200k_base`. */
export const GPT4O_PATTERN: string = `${
  CASED.split("|").map((one) => one + CONTRACTIONS).join("|")
}|\\p{N}{1,3}|${REST}`;

/** The names of the patterns; `smollm`, used by SmolLM 2, is GPT-2's with every digit by itself. */
export type PatternName = "gpt2" | "gpt4" | "qwen2" | "smollm" | "tekken" | "gpt4o";

/**
 * Returns the end of the word that begins at `start`, always past `start`. `bytes` up to `end` must be valid UTF-8, and
 * `start` the beginning of a word below `end`.
 */
export type Splitter = (bytes: Uint8Array, start: number, end: number) => number;

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const BLANK = 0x20;
const APOSTROPHE = 0x27;

/** Letters of the contractions, lower case. */
const D = 0x64, E = 0x65, L = 0x6c, M = 0x6d, R = 0x72, S = 0x73, T = 0x74, V = 0x76;

/** GPT-2's splitter: the next match of {@linkcode GPT2_PATTERN}. */
export function splitGPT2(bytes: Uint8Array, start: number, end: number): number {
  const first = bytes[start];
  if (first === APOSTROPHE) {
    const length = contraction(bytes[start + 1]!, bytes[start + 2]!, end - start);
    if (length > 0) return start + length;
  }
  const body = first === BLANK && start + 1 < end ? start + 1 : start;
  const bodyClass = classAndLength(bytes, body) & 3;
  return bodyClass === SPACE
    ? endOfSpace(bytes, start, end)
    : skipClass(bytes, body, end, bodyClass);
}

/** SmolLM's splitter: every digit by itself, and between them the next match of {@linkcode GPT2_PATTERN}. */
export function splitSmolLM(bytes: Uint8Array, start: number, end: number): number {
  const packed = classAndLength(bytes, start);
  if ((packed & 3) === NUMBER) return start + (packed >> 2);
  if ((packed & 3) === SPACE) {
    const runEnd = skipClass(bytes, start, end, SPACE);
    if (runEnd < end && (classAndLength(bytes, runEnd) & 3) === NUMBER) return runEnd;
  }
  return splitGPT2(bytes, start, end);
}

/** GPT-4's splitter: the next match of {@linkcode GPT4_PATTERN}. */
export function splitGPT4(bytes: Uint8Array, start: number, end: number): number {
  return splitWithDigits(bytes, start, end, 3);
}

/** Qwen's splitter: the next match of {@linkcode QWEN2_PATTERN}. */
export function splitQwen2(bytes: Uint8Array, start: number, end: number): number {
  return splitWithDigits(bytes, start, end, 1);
}

function splitWithDigits(bytes: Uint8Array, start: number, end: number, digits: number): number {
  const first = bytes[start];
  if (first === APOSTROPHE) {
    // Ignoring case: `| 0x20` lowers ASCII letters and makes no letter of anything else. U+017F, the long s, folds to
    // "s" too.
    const second = bytes[start + 1]!;
    if (second === 0xc5 && end - start > 2 && bytes[start + 2] === 0xbf) return start + 3;
    const length = contraction(second | 0x20, bytes[start + 2]! | 0x20, end - start);
    if (length > 0) return start + length;
  }
  const packed = classAndLength(bytes, start);
  const firstClass = packed & 3;
  const second = start + (packed >> 2);
  if (firstClass === LETTER) return skipClass(bytes, second, end, LETTER);
  if (firstClass === NUMBER) return endOfDigits(bytes, second, end, digits);
  if (first !== RETURN && first !== NEWLINE) {
    const word = skipClass(bytes, second, end, LETTER);
    if (word > second) return word;
  }
  if (firstClass === OTHER) return endOfMarks(bytes, second, end);
  if (first === BLANK) {
    const marks = skipClass(bytes, second, end, OTHER);
    if (marks > second) return endOfMarks(bytes, marks, end);
  }
  return endOfLines(bytes, start, end);
}

/** The splitter of each pattern; a pattern without one of its own is run as a regular expression. */
const SPLITTERS: Readonly<Record<PatternName, Splitter | string>> = {
  gpt2: splitGPT2,
  gpt4: splitGPT4,
  qwen2: splitQwen2,
  smollm: splitSmolLM,
  tekken: TEKKEN_PATTERN,
  gpt4o: GPT4O_PATTERN,
};

/** The names of all patterns. */
export const PATTERN_NAMES = Object.keys(SPLITTERS) as readonly PatternName[];

/** Returns the splitter for the UTF-8 bytes of a well-formed text, to be called word by word. */
export function splitterOf(pattern: PatternName, text: string): Splitter {
  const splitter = SPLITTERS[pattern];
  if (typeof splitter === "function") return splitter;
  // `\\s` in these patterns means Unicode's White_Space, unlike JavaScript's.
  const source = splitter.replaceAll("\\s", "\\p{White_Space}").replaceAll(
    "\\S",
    "\\P{White_Space}",
  );
  const words = text.matchAll(new RegExp(source, "gu"));
  return (_bytes, start) => start + utf8Length(words.next().value![0]);
}

function utf8Length(text: string): number {
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    // Each half of a surrogate pair stands for two of its four bytes.
    length += unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 2 : 3;
  }
  return length;
}

/** Returns the byte length of `'s`, `'re` and so on, or 0 for anything else; `left` bytes are available. */
function contraction(second: number, third: number, left: number): number {
  if (left < 2) return 0;
  if (second === S || second === T || second === M || second === D) return 2;
  if (left < 3) return 0;
  if (third === E && (second === R || second === V)) return 3;
  return second === L && third === L ? 3 : 0;
}

/** `\s+(?!\S)|\s+`: the last white space before a word is left to that word. */
function endOfSpace(bytes: Uint8Array, start: number, end: number): number {
  const runEnd = skipClass(bytes, start, end, SPACE);
  if (runEnd === end) return runEnd;
  let last = runEnd - 1;
  while ((bytes[last]! & 0xc0) === 0x80) last--;
  return last > start ? last : runEnd;
}

/** `\s*[\r\n]+` or, if there is no line end, {@linkcode endOfSpace}. */
function endOfLines(bytes: Uint8Array, start: number, end: number): number {
  const runEnd = skipClass(bytes, start, end, SPACE);
  for (let i = runEnd - 1; i >= start; i--) {
    if (bytes[i] === NEWLINE || bytes[i] === RETURN) return i + 1;
  }
  return endOfSpace(bytes, start, end);
}

/** The rest of `[^\s\p{L}\p{N}]+[\r\n]*`. */
function endOfMarks(bytes: Uint8Array, at: number, end: number): number {
  at = skipClass(bytes, at, end, OTHER);
  while (at < end && (bytes[at] === NEWLINE || bytes[at] === RETURN)) at++;
  return at;
}

/** The rest of `\p{N}{1,max}`, whose first digit ends at `at`. */
function endOfDigits(bytes: Uint8Array, at: number, end: number, max: number): number {
  for (let digits = 1; digits < max && at < end; digits++) {
    const packed = classAndLength(bytes, at);
    if ((packed & 3) !== NUMBER) break;
    at += packed >> 2;
  }
  return at;
}

// Letters, numbers and white space, looked up from UTF-8 bytes without a regular expression. The tables contain no
// Unicode data of their own: a page of 256 code points is filled from the engine's `\p{..}` classes when a text first
// needs it.

/** Neither letter, number nor white space. */
const OTHER = 0;
/** `\p{L}` */
const LETTER = 1;
/** `\p{N}` */
const NUMBER = 2;
/**
 * `\p{White_Space}`, which is what `\s` means to tiktoken (Rust). JavaScript's own `\s` differs:
 * it has U+FEFF and lacks U+0085.
 */
const SPACE = 3;

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
 * Returns the class and the byte length of the character that begins at `bytes[at]`, packed as `length * 4 + class`.
 * `bytes` must be valid UTF-8 and `at` the first byte of a character.
 */
function classAndLength(bytes: Uint8Array, at: number): number {
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

/** Returns the end of the run of characters of class `wanted` that begins at `at`; `at` if there is none. */
function skipClass(bytes: Uint8Array, at: number, end: number, wanted: number): number {
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
