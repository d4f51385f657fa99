/**
 * The fields of a `config.json`, read with distrust.
 *
 * @module
 */
import { FileFormatError } from "../io/errors.ts";
import { shown } from "../io/json_text.ts";
import type { JsonObject } from "./json_file.ts";

/** The fields of one `config.json`; whatever is wrong throws a `FileFormatError` that names file and field. */
export class ConfigFields {
  readonly #json: JsonObject;
  readonly #file: string;
  readonly #path: string;

  /** Wraps them; `path` is put before the names of fields in messages. */
  constructor(json: JsonObject, file: string, path = "") {
    this.#json = json;
    this.#file = file;
    this.#path = path;
  }

  /** What a field holds; undefined where it is missing or null. */
  get(name: string): unknown {
    return Object.hasOwn(this.#json, name) ? this.#json[name] ?? undefined : undefined;
  }

  /** Whether a field is there and null. */
  isNull(name: string): boolean {
    return Object.hasOwn(this.#json, name) && this.#json[name] === null;
  }

  /** An integer above 0. */
  size(name: string, missing?: number): number {
    const value = this.get(name) ?? missing;
    if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
    return this.refuse(name, "an integer above 0");
  }

  /** An integer of 0 or more. */
  count(name: string, missing: number): number {
    const value = this.get(name) ?? missing;
    if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
    return this.refuse(name, "an integer of 0 or more");
  }

  /** An integer above 0, or null. */
  sizeOrNull(name: string, missing: number | null): number | null {
    const value = Object.hasOwn(this.#json, name) ? this.#json[name] : missing;
    return value === null ? null : this.size(name, missing ?? undefined);
  }

  /** A number above 0. */
  positive(name: string, missing?: number): number {
    const value = this.get(name) ?? missing;
    if (typeof value === "number" && value > 0 && value < Infinity) return value;
    return this.refuse(name, "a number above 0");
  }

  /** A number from 0 up to, not including, 1. */
  probability(name: string, missing: number): number {
    const value = this.get(name) ?? missing;
    if (typeof value === "number" && value >= 0 && value < 1) return value;
    return this.refuse(name, "a number from 0 to below 1");
  }

  /** One of some texts. */
  oneOf<T extends string>(name: string, ...values: readonly T[]): T {
    const value = this.get(name);
    if (values.includes(value as T)) return value as T;
    return this.refuse(name, values.map((one) => JSON.stringify(one)).join(" or "));
  }

  /** A list of some values; undefined where it is missing or null. */
  oneOfEach<T extends string | number>(name: string, ...values: readonly T[]): T[] | undefined {
    const list = this.get(name);
    if (list === undefined) return undefined;
    if (Array.isArray(list) && list.every((one) => values.includes(one))) return list;
    return this.refuse(
      name,
      `a list of ${values.map((one) => JSON.stringify(one)).join(" and ")}`,
    );
  }

  /** True or false. */
  flag(name: string, missing: boolean): boolean {
    const value = this.get(name) ?? missing;
    return typeof value === "boolean" ? value : this.refuse(name, "true or false");
  }

  /** Throws unless a field is missing or holds one of the values that this library computes with. */
  expect(name: string, ...values: readonly (string | number | boolean)[]): void {
    const value = this.get(name);
    if (value === undefined || values.includes(value as string)) return;
    this.refuse(name, values.map((one) => JSON.stringify(one)).join(" or "));
  }

  /** Throws: a field is not what was expected. */
  refuse(name: string, expected: string): never {
    const found = shown(this.get(name));
    throw new FileFormatError(
      `expected "${this.#path}${name}" to be ${expected} but got ${found}`,
      {
        file: this.#file,
      },
    );
  }

  /** The fields of an object that a field holds; undefined where it is missing or null. */
  object(name: string): ConfigFields | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (typeof value !== "object" || Array.isArray(value)) this.refuse(name, "an object");
    return new ConfigFields(value as JsonObject, this.#file, `${this.#path}${name}.`);
  }
}
