/**
 * What a file format brings to the fuzzer.
 *
 * @module
 */
import { TokenizerFormatError } from "../../src/tokenizer/tokenizer.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import type { Chance } from "./random.ts";

/** A file, good or bad, and how the library reads it. */
export interface Mutant {
  /** Its length, which bounds allocations. */
  readonly bytes: number;
  /** What every message has to name: the file's path, or its folder. */
  readonly file: string;
  /**
   * Reads all that is in it. Throws what the reader throws, and an {@linkcode Inconsistent} where the reader takes
   * what contradicts itself.
   */
  read(): Promise<void>;
}

/** A file format. */
export interface Format {
  /** Its name on the command line. */
  readonly name: string;
  /** What a message has beside the file: the byte, the line, the key. */
  readonly place: RegExp;
  /** Milliseconds that a case may take; 2,000 by default. */
  readonly milliseconds?: number;
  /** Bytes that its reader may take whatever the file's length: tables, buffers. */
  readonly allowance?: number;
  /** Other errors that the reader's documentation promises; with the file's name, too. */
  readonly documented?: (error: Error) => boolean;
  /** Makes good files, and from them the function that spoils one. `folder` is empty and its own. */
  prepare(folder: string): Promise<(chance: Chance) => Promise<Mutant> | Mutant>;
}

/** A reader took a file that contradicts itself. */
export class Inconsistent extends Error {
  override readonly name = "Inconsistent";
}

/** Throws an {@linkcode Inconsistent} unless something holds. */
export function holds(condition: boolean, message: string): void {
  if (!condition) throw new Inconsistent(message);
}

/** What is wrong with an error that a reader threw; undefined where it is as it should be. */
export function faultOf(error: unknown, format: Format, file: string): string | undefined {
  if (!(error instanceof Error)) return `threw ${String(error)}`;
  const expected = error instanceof FileFormatError || error instanceof TokenizerFormatError ||
    format.documented?.(error);
  if (!expected) return `threw ${error.name}: ${error.message}`;
  if (!error.message.includes(file)) return `does not name the file: ${error.message}`;
  const rest = error.message.replaceAll(file, "");
  if (!format.place.test(rest)) return `does not name the place: ${error.message}`;
  if (error.message.length > 2000) return `has ${error.message.length} characters in its message`;
}

/** An offset in bytes. */
export const AT_BYTE = /\bbytes? -?\d+/;
/** A key, a field, or a position in a text. */
export const AT_KEY =
  /\bposition (?:below )?\d+|\bline \d+|"[^"]*("|\.\.\.)|: [a-zA-Z_]+(\.\w+|\[.*\])*:|expected a JSON object/;
