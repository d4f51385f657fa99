// JSON Lines, the usual format of data sets.
import { FileFormatError } from "../io/errors.ts";
import { shown } from "../io/json_text.ts";

/** A line of a JSONL file. */
export interface JsonLine {
  /** The line number, counted from 1. */
  line: number;
  /** The object on the line. */
  value: Record<string, unknown>;
}

/**
 * Yields the objects in `text`, one per line; empty lines are skipped. `file` and the number of the first line are used
 * in error messages.
 *
 * @throws {FileFormatError} where a line is not JSON object; the message names the line
 */
export function* parseJsonLines(text: string, file: string, firstLine = 1): Generator<JsonLine> {
  let line = firstLine;
  for (let start = 0; start < text.length; line++) {
    const newline = text.indexOf("\n", start);
    const end = newline < 0 ? text.length : newline;
    const part = text.slice(start, end);
    start = end + 1;
    if (part.trim() === "") continue;
    yield { line, value: parseObject(part, file, line) };
  }
}

/** Returns the text in a field of an object; throws a `FileFormatError` if there is none. */
export function textField({ line, value }: JsonLine, field: string, file: string): string {
  const text = value[field];
  if (typeof text !== "string") {
    const found = text === undefined ? `only ${namesOf(value)}` : `a ${typeof text}`;
    throw new FileFormatError(`line ${line}: expected a text in "${field}" but got ${found}`, {
      file,
    });
  }
  return text;
}

/** Lists the first keys of an object. */
function namesOf(value: Record<string, unknown>): string {
  const names = Object.keys(value).join(", ");
  return names.length > 200 ? `${names.slice(0, 200)}...` : names;
}

function parseObject(part: string, file: string, line: number): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line === 1 ? part.replace(/^\uFEFF/, "") : part);
  } catch (cause) {
    throw new FileFormatError(`line ${line}: expected JSON: ${(cause as Error).message}`, {
      file,
      cause,
    });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FileFormatError(`line ${line}: expected a JSON object but got ${shown(value)}`, {
      file,
    });
  }
  return value as Record<string, unknown>;
}
