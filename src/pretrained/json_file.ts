/**
 * JSON files in the folder of a model.
 *
 * @module
 */
import { writeFileAtomically } from "../io/atomic_file.ts";
import { FileFormatError } from "../io/errors.ts";
import { parseJson, shown } from "../io/json_text.ts";

/** Any JSON object. */
export type JsonObject = Record<string, unknown>;

/** Whether a JSON value is an object, and neither null nor a list. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Returns the object in a file; undefined if the file does not exist.
 *
 * @throws {FileFormatError} where it holds anything else
 */
export async function readJsonObject(file: string): Promise<JsonObject | undefined> {
  let value: unknown;
  try {
    value = parseJson(await Deno.readTextFile(file));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return undefined;
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new FileFormatError(`expected JSON: ${cause.message}`, { file, cause });
  }
  if (!isJsonObject(value)) {
    throw new FileFormatError(`expected a JSON object but got ${shown(value)}`, { file });
  }
  return value;
}

/** Writes an object to a file, which appears whole or not at all. */
export async function writeJson(file: string, value: JsonObject): Promise<void> {
  const text = JSON.stringify(value, null, 2) + "\n";
  await writeFileAtomically(file, (written) => written.write(new TextEncoder().encode(text)));
}
