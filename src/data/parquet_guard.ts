/**
 * Checks of a parquet file before the library behind `parquet.ts` sees it. That library trusts what it reads: lengths
 * of lists and of runs, sizes of pages. A few bytes could keep it busy for ever or take all memory.
 *
 * @module
 */

/** A nesting depth beyond that of any metadata. */
const MAX_DEPTH = 32;
// Types of Thrift's compact protocol:
// https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
const STOP = 0, TRUE = 1, FALSE = 2, BYTE = 3, I16 = 4, I32 = 5, I64 = 6, DOUBLE = 7, BINARY = 8;
const LIST = 9, STRUCT = 12;

/**
 * Checks that a struct of Thrift's compact protocol is complete, and that no length in it goes beyond the bytes.
 *
 * @throws {RangeError} where it is not; the message has the offset in `view`
 */
export function checkThrift(view: DataView): void {
  new ThriftCheck(view).struct(0);
}

function tooDeep(at: number): RangeError {
  return new RangeError(
    `expected at most ${MAX_DEPTH} levels of nesting but got more at byte ${at}`,
  );
}

class ThriftCheck {
  readonly #view: DataView;
  #at = 0;

  constructor(view: DataView) {
    this.#view = view;
  }

  struct(depth: number): void {
    if (depth > MAX_DEPTH) throw tooDeep(this.#at);
    for (;;) {
      const byte = this.#byte();
      const type = byte & 15;
      if (type === STOP) return;
      if (byte >> 4 === 0) this.#varint(3);
      // The value of a boolean is in its type.
      if (type !== TRUE && type !== FALSE) this.#value(type, depth);
    }
  }

  #value(type: number, depth: number): void {
    switch (type) {
      case TRUE:
      case FALSE:
      case BYTE:
        return this.#skip(1);
      case I16:
      case I32:
        return void this.#varint(5);
      case I64:
        return void this.#varint(10);
      case DOUBLE:
        return this.#skip(8);
      case BINARY:
        return this.#skip(this.#varint(5));
      case LIST:
        return this.#list(depth);
      case STRUCT:
        return this.struct(depth + 1);
      default:
        throw new RangeError(`expected a type of 1 to 12 but got ${type} at byte ${this.#at - 1}`);
    }
  }

  #list(depth: number): void {
    if (depth > MAX_DEPTH) throw tooDeep(this.#at);
    const byte = this.#byte();
    const length = byte >> 4 === 15 ? this.#varint(5) : byte >> 4;
    // Every element takes at least one byte.
    const left = this.#view.byteLength - this.#at;
    if (length > left) {
      throw new RangeError(
        `expected a list of at most ${left} elements but got ${length} at byte ${this.#at}`,
      );
    }
    for (let i = 0; i < length; i++) this.#value(byte & 15, depth + 1);
  }

  #skip(count: number): void {
    const left = this.#view.byteLength - this.#at;
    if (count > left) {
      throw new RangeError(`expected ${count} bytes at byte ${this.#at} but got ${left}`);
    }
    this.#at += count;
  }

  #byte(): number {
    this.#skip(1);
    return this.#view.getUint8(this.#at - 1);
  }

  /** Reads a variable-length number of at most `max` bytes. */
  #varint(max: number): number {
    let value = 0;
    for (let i = 0; i < max; i++) {
      const byte = this.#byte();
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return value;
    }
    throw new RangeError(
      `expected a number of at most ${max} bytes but got more at byte ${this.#at - max}`,
    );
  }
}

/**
 * Checks the hybrid of run lengths and packed bits that encodes levels and dictionary indices: its runs must give no
 * more than `count` values and end before `end`.
 *
 * @throws {RangeError} where they do
 */
export function checkRuns(
  view: DataView,
  { at, end, width, count }: { at: number; end: number; width: number; count: number },
): void {
  if (end > view.byteLength) {
    throw new RangeError(
      `expected levels that end in their page of ${view.byteLength} bytes but got an end at ${end}`,
    );
  }
  if (width > 32) {
    throw new RangeError(
      `expected values of at most 32 bits but got ${width} at byte ${at} of the page`,
    );
  }
  for (let seen = 0; seen < count && at < end;) {
    const start = at;
    let header = 0;
    for (let i = 0; i === 0 || view.getUint8(at - 1) >= 0x80; i++) {
      if (i === 5 || at >= end) {
        throw new RangeError(
          `expected the length of a run but got other bytes at byte ${start} of the page`,
        );
      }
      header += (view.getUint8(at++) & 0x7f) * 2 ** (7 * i);
    }
    const isPacked = header % 2 === 1;
    const length = Math.floor(header / 2) * (isPacked ? 8 : 1);
    // Packed values come in groups of eight, so the last run may have some too many.
    if (length > count - seen + (isPacked ? 511 : 0)) {
      throw new RangeError(
        `expected at most ${count} values in a page but got a run of ${length} at byte ${start}`,
      );
    }
    at += isPacked ? length * width / 8 : (width + 7) >> 3;
    seen += length;
  }
}

/**
 * Checks the header of delta-encoded numbers.
 *
 * @throws {RangeError} where its blocks make no sense
 */
export function checkDeltas(view: DataView, at: number): void {
  const numbers: number[] = [];
  while (numbers.length < 2) {
    let number = 0;
    for (let shift = 0;; shift += 7) {
      if (shift > 21 || at >= view.byteLength) {
        throw new RangeError(
          `expected the sizes of a block of differences but got other bytes at byte ${at} of the page`,
        );
      }
      const byte = view.getUint8(at++);
      number += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    numbers.push(number);
  }
  const [block, parts] = numbers;
  if (block! < 1 || parts! < 1 || block! % parts! !== 0) {
    throw new RangeError(
      `expected blocks of differences in equal parts but got ${block} in ${parts} parts`,
    );
  }
}
