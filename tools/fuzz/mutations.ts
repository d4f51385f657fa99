/**
 * How a good file becomes a bad one: by its bytes, by its numbers, by its JSON.
 *
 * @module
 */
import type { Chance } from "./random.ts";

/** Numbers where arithmetic turns over, or where nobody has that much memory. */
const NUMBERS = [
  ...[0, -0, -1, 1, 2, 3, 7, 255, 256, 65535, 65536, 0.5, -0.5, 1e-300, 1e308],
  ...[2 ** 24, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 33, 2 ** 40, 2 ** 50],
  ...[2 ** 53 - 1, 2 ** 53, 2 ** 63, -(2 ** 31), -(2 ** 53)],
];
const INTEGERS: readonly bigint[] = [
  ...[0n, 1n, 2n, 8n, 255n, 256n, 0xffffn, 0x10000n, 0x7fffffffn, 0x80000000n, 0xffffffffn],
  ...[1n << 33n, 1n << 40n, 1n << 53n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n],
];
const TEXTS = [
  ...["", " ", "0", "-1", "a\nb", "\u0000", "\ud800", "\ufeff", "é🦕", "__proto__", "constructor"],
  ...["toString", "../../etc/passwd", "/dev/zero", "F32", "x".repeat(5000)],
];

/** Cuts, flips, repeats, removes, moves or overwrites something, once or a few times. */
export function mutateBytes(bytes: Uint8Array, chance: Chance): Uint8Array {
  let result: Uint8Array = bytes.slice();
  for (let times = chance.oneIn(3) ? chance.between(2, 6) : 1; times > 0; times--) {
    result = chance.pick(BYTE_MUTATIONS)(result, chance);
  }
  return result;
}

type ByteMutation = (bytes: Uint8Array, chance: Chance) => Uint8Array;

const BYTE_MUTATIONS: readonly ByteMutation[] = [
  flipBits,
  flipBits,
  overwriteInteger,
  overwriteInteger,
  overwriteInteger,
  overwriteText,
  (bytes, chance) => bytes.slice(0, chance.below(bytes.length + 1)),
  (bytes, chance) => bytes.slice(0, -chance.between(1, 8)),
  (bytes, chance) => bytes.slice(chance.below(Math.min(bytes.length, 32) + 1)),
  (bytes, chance) => splice(bytes, ...span(bytes, chance), new Uint8Array(0)),
  (bytes, chance) => {
    const [start, end] = span(bytes, chance);
    return splice(bytes, end, end, bytes.slice(start, end));
  },
  (bytes, chance) => {
    const [start, end] = span(bytes, chance);
    const to = chance.below(bytes.length + 1);
    return splice(bytes, to, Math.min(bytes.length, to + end - start), bytes.slice(start, end));
  },
  (bytes, chance) => {
    const [start, end] = span(bytes, chance);
    return bytes.slice().fill(chance.pick([0, 0xff, 0x20, 0x80]), start, end);
  },
  (bytes, chance) => {
    const noise = Uint8Array.from({ length: chance.between(1, 64) }, () => chance.below(256));
    const at = place(bytes, chance);
    return splice(bytes, at, at, noise);
  },
  (bytes, chance) => splice(bytes, bytes.length, bytes.length, bytes.slice(0, chance.below(4096))),
];

function flipBits(bytes: Uint8Array, chance: Chance): Uint8Array {
  for (let times = chance.pick([1, 1, 2, 8]); bytes.length > 0 && times > 0; times--) {
    bytes[place(bytes, chance)] ^= 1 << chance.below(8);
  }
  return bytes;
}

/** A length or a count of 1, 2, 4 or 8 bytes, of either byte order. */
function overwriteInteger(bytes: Uint8Array, chance: Chance): Uint8Array {
  const size = chance.pick([1, 2, 4, 8]);
  if (bytes.length < size) return bytes;
  // Numbers mostly lie where their size says.
  const at = Math.min(place(bytes, chance), bytes.length - size);
  const aligned = chance.oneIn(4) ? at : at - at % size;
  const value = BigInt.asUintN(8 * size, anInteger(bytes, chance));
  const order = Array.from({ length: size }, (_, i) => Number(value >> BigInt(8 * i) & 255n));
  bytes.set(chance.oneIn(8) ? order.reverse() : order, aligned);
  return bytes;
}

function anInteger(bytes: Uint8Array, chance: Chance): bigint {
  const near = BigInt(chance.between(-2, 2));
  return chance.oneIn(4) ? BigInt(bytes.length) + near : chance.pick(INTEGERS) + near;
}

/** Digits, brackets and quotes: what a header of text is made of. */
function overwriteText(bytes: Uint8Array, chance: Chance): Uint8Array {
  const text = chance.pick([
    "9",
    "-",
    "99999999",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    '"',
    "'",
    ",",
    ":",
  ]);
  const at = place(bytes, chance);
  const part = new TextEncoder().encode(text);
  return splice(bytes, at, Math.min(bytes.length, at + chance.below(2) * part.length), part);
}

/** A place in the bytes; half of them in the first 128 or the last 64, where headers and footers are. */
function place(bytes: Uint8Array, chance: Chance): number {
  const length = Math.max(1, bytes.length);
  if (chance.oneIn(3)) return chance.below(Math.min(length, 128));
  if (chance.oneIn(6)) return length - 1 - chance.below(Math.min(length, 64));
  return chance.below(length);
}

function span(bytes: Uint8Array, chance: Chance): [start: number, end: number] {
  const start = place(bytes, chance);
  const most = chance.pick([1, 4, 16, 256, bytes.length]);
  return [start, Math.min(bytes.length, start + chance.between(1, Math.max(1, most)))];
}

/** The bytes with those from `start` to `end` replaced. */
export function splice(
  bytes: Uint8Array,
  start: number,
  end: number,
  part: Uint8Array,
): Uint8Array {
  const from = Math.min(start, bytes.length);
  const to = Math.max(from, Math.min(end, bytes.length));
  const result = new Uint8Array(from + part.length + bytes.length - to);
  result.set(bytes.subarray(0, from));
  result.set(part, from);
  result.set(bytes.subarray(to), from + part.length);
  return result;
}

/** A number that a file should not have, or one that is merely another. */
function mutateNumber(value: number, chance: Chance): number {
  const near = value + chance.pick([-1, 1, 0.5, -value * 2, value]);
  return chance.oneIn(3) ? near : chance.pick(NUMBERS);
}

/** A JSON value with something in it replaced, removed, doubled, renamed or wrapped. */
function mutateJson(value: unknown, chance: Chance): unknown {
  // A place is drawn evenly among all, but a long list would hide the rest: it counts as a few.
  const isLeaf = typeof value !== "object" || value === null;
  if (isLeaf || chance.oneIn(6)) return replaceJson(value, chance);
  if (Array.isArray(value)) return mutateList(value, chance);
  return mutateObject(value as Record<string, unknown>, chance);
}

function mutateList(list: readonly unknown[], chance: Chance): unknown[] {
  const copy = [...list];
  const at = chance.below(list.length + 1);
  const other = chance.below(list.length || 1);
  switch (chance.below(10)) {
    case 0:
      return copy.toSpliced(at, 1);
    case 1:
      return copy.toSpliced(at, 0, list[other]);
    case 2:
      return copy.toSpliced(at, 0, anyJson(chance));
    case 3:
      return [...copy, ...copy];
    case 4:
      return chance.oneIn(2) ? copy.slice(0, at) : copy.toReversed();
  }
  if (list.length > 0) copy[other] = mutateJson(list[other], chance);
  return copy;
}

function mutateObject(object: Record<string, unknown>, chance: Chance): Record<string, unknown> {
  const entries = Object.entries(object);
  const at = chance.below(entries.length || 1);
  const [name, value] = entries[at] ?? ["a", 1];
  const other: readonly [string, unknown] = entries.length > 0 ? chance.pick(entries) : ["b", 2];
  switch (chance.below(12)) {
    case 0:
      return fromEntries(entries.toSpliced(at, 1));
    case 1:
      return fromEntries(entries.toSpliced(at, 1, [chance.pick(TEXTS), value]));
    case 2:
      return fromEntries([...entries, [chance.pick(TEXTS), anyJson(chance)]]);
    case 3:
      return fromEntries(entries.toSpliced(at, 1, [name, other[1]]));
    case 4:
      return fromEntries([...entries, [`${name}${chance.below(9)}`, value]]);
  }
  return fromEntries(entries.toSpliced(at, 1, [name, mutateJson(value, chance)]));
}

// Unlike an assignment this can make an entry named "__proto__", as JSON.parse does.
function fromEntries(entries: Iterable<readonly [string, unknown]>): Record<string, unknown> {
  return Object.fromEntries(entries);
}

function replaceJson(value: unknown, chance: Chance): unknown {
  if (typeof value === "number" && !chance.oneIn(4)) return mutateNumber(value, chance);
  if (typeof value === "string" && !chance.oneIn(4)) {
    const at = chance.below(value.length + 1);
    const part = chance.pick(TEXTS);
    return chance.oneIn(2) ? part : value.slice(0, at) + part + value.slice(at + chance.below(3));
  }
  return chance.oneIn(4) ? [value] : anyJson(chance);
}

function anyJson(chance: Chance): unknown {
  switch (chance.below(9)) {
    case 0:
      return null;
    case 1:
      return chance.oneIn(2);
    case 2:
      return chance.pick(TEXTS);
    case 3:
      return {};
    case 4:
      return [];
    case 5:
      return Array.from({ length: 2000 }, () => chance.pick(NUMBERS));
    case 6:
      return nested(chance.pick([20, 1000]));
    case 7:
      return { [chance.pick(TEXTS)]: chance.pick(NUMBERS) };
    default:
      return chance.pick(NUMBERS);
  }
}

/** A list in a list in a list: what breaks code that calls itself. */
function nested(depth: number): unknown {
  let value: unknown = [];
  for (let i = 0; i < depth; i++) value = [value];
  return value;
}

/** What JSON allows and `JSON.stringify` never writes, and some that it does not allow. */
const ODD_JSON = [
  ...["1e999", "-1e999", "NaN", "Infinity", "-0", "0.1e-400", "9".repeat(400), "01", "+1", ".5"],
  ...['"\\ud800"', '"\\u0000"', '"\u0001"', "'a'", "undefined", "//", "[1,]", "{,}", "\ufeff"],
];

/** JSON of a value, changed as a value, as a text, both or only written anew. */
export function mutateJsonText(value: unknown, chance: Chance): string {
  let changed = value;
  for (let times = chance.pick([0, 1, 1, 1, 2, 4]); times > 0; times--) {
    changed = mutateJson(changed, chance);
  }
  const text = JSON.stringify(changed, null, chance.pick([0, 0, 1]));
  switch (chance.below(12)) {
    case 0:
      return replaced(text, /"(?:[^"\\]|\\.)*"\s*:/g, chance, (key) => {
        const json = JSON.stringify(anyJson(chance));
        return chance.oneIn(2) ? `${key}${json},${key}` : `"__proto__":${json},${key}`;
      });
    case 1:
      return replaced(text, /-?\d+(?:\.\d+)?/g, chance, () => chance.pick(ODD_JSON));
    case 2:
      return replaced(text, /[[\]{},:"]/g, chance, (mark) => chance.pick(["", mark + mark, "\n"]));
    case 3: {
      const [depth, mark] = [chance.pick([500, 100_000]), chance.pick(["[", '{"a":'])];
      const end = mark === "[" ? "]" : "}";
      const deep = mark.repeat(depth) + "1" + (chance.oneIn(4) ? "" : end.repeat(depth));
      return replaced(text, /-?\d+(?:\.\d+)?|"(?:[^"\\]|\\.)*"(?!\s*:)/g, chance, () => deep);
    }
    case 4:
      return text.slice(0, chance.below(text.length + 1));
  }
  return text;
}

/** The text with one of the matches replaced. */
function replaced(
  text: string,
  pattern: RegExp,
  chance: Chance,
  by: (match: string) => string,
): string {
  const matches = [...text.matchAll(pattern)];
  if (matches.length === 0) return text;
  const { 0: match, index } = chance.pick(matches);
  return text.slice(0, index) + by(match) + text.slice(index + match.length);
}
