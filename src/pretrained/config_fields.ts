/**
 * The fields of a `config.json`, which is not trusted.
 *
 * @module
 */
import { FileFormatError } from "../io/errors.ts";
import { shown } from "../io/json_text.ts";
import type { JsonObject } from "./json_file.ts";

/** The fields of a `config.json`; anything wrong throws a `FileFormatError` that names the file and the field. */
export class ConfigFields {
  readonly #json: JsonObject;
  readonly #file: string;
  readonly #path: string;

  /** Wraps the fields; `path` is put before their names in messages. */
  constructor(json: JsonObject, file: string, path = "") {
    this.#json = json;
    this.#file = file;
    this.#path = path;
  }

  /** Returns the value of a field; undefined if it is missing or null. */
  get(name: string): unknown {
    return Object.hasOwn(this.#json, name) ? this.#json[name] ?? undefined : undefined;
  }

  /** Whether a field is present and null. */
  isNull(name: string): boolean {
    return Object.hasOwn(this.#json, name) && this.#json[name] === null;
  }

  /** Reads an integer above 0. */
  size(name: string, missing?: number): number {
    const value = this.get(name) ?? missing;
    if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
    return this.refuse(name, "an integer above 0");
  }

  /** Reads an integer of 0 or more. */
  count(name: string, missing: number): number {
    const value = this.get(name) ?? missing;
    if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
    return this.refuse(name, "an integer of 0 or more");
  }

  /** Reads an integer above 0, or null. */
  sizeOrNull(name: string, missing: number | null): number | null {
    const value = Object.hasOwn(this.#json, name) ? this.#json[name] : missing;
    return value === null ? null : this.size(name, missing ?? undefined);
  }

  /** Reads a number above 0. */
  positive(name: string, missing?: number): number {
    const value = this.get(name) ?? missing;
    if (typeof value === "number" && value > 0 && value < Infinity) return value;
    return this.refuse(name, "a number above 0");
  }

  /** Reads a number from 0 up to, but not including, 1. */
  probability(name: string, missing: number): number {
    const value = this.get(name) ?? missing;
    if (typeof value === "number" && value >= 0 && value < 1) return value;
    return this.refuse(name, "a number from 0 to below 1");
  }

  /** Reads one of several strings. */
  oneOf<T extends string>(name: string, ...values: readonly T[]): T {
    const value = this.get(name);
    if (values.includes(value as T)) return value as T;
    return this.refuse(name, values.map((one) => JSON.stringify(one)).join(" or "));
  }

  /** Reads a list of given values; undefined if it is missing or null. */
  oneOfEach<T extends string | number>(name: string, ...values: readonly T[]): T[] | undefined {
    const list = this.get(name);
    if (list === undefined) return undefined;
    if (Array.isArray(list) && list.every((one) => values.includes(one))) return list;
    return this.refuse(
      name,
      `a list of ${values.map((one) => JSON.stringify(one)).join(" and ")}`,
    );
  }

  /** Reads a boolean. */
  flag(name: string, missing: boolean): boolean {
    const value = this.get(name) ?? missing;
    return typeof value === "boolean" ? value : this.refuse(name, "true or false");
  }

  /** Throws unless a field is missing or has one of the values that this library supports. */
  expect(name: string, ...values: readonly (string | number | boolean)[]): void {
    const value = this.get(name);
    if (value === undefined || values.includes(value as string)) return;
    this.refuse(name, values.map((one) => JSON.stringify(one)).join(" or "));
  }

  /** Throws because a field is not what was expected. */
  refuse(name: string, expected: string): never {
    const found = shown(this.get(name));
    throw new FileFormatError(
      `expected "${this.#path}${name}" to be ${expected} but got ${found}`,
      {
        file: this.#file,
      },
    );
  }

  /** Returns the fields of an object in a field; undefined if it is missing or null. */
  object(name: string): ConfigFields | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (typeof value !== "object" || Array.isArray(value)) this.refuse(name, "an object");
    return new ConfigFields(value as JsonObject, this.#file, `${this.#path}${name}.`);
  }
}
