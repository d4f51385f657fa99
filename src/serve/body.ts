/**
 * The body of a request, which is not trusted.
 *
 * @module
 */
import { ApiError } from "./api_error.ts";

/** The values that a number may have. */
interface Range {
  readonly minimum: number;
  readonly maximum?: number;
  readonly integer?: boolean;
}

/** The fields of a JSON body; anything wrong throws an {@linkcode ApiError} that names the field. */
export class Body {
  readonly #json: Record<string, unknown>;
  readonly #known = new Set<string>();

  /** Wraps parsed JSON. */
  constructor(json: unknown) {
    if (typeof json !== "object" || json === null || Array.isArray(json)) {
      throw new ApiError(400, `expected a JSON object but got ${kind(json)}`);
    }
    this.#json = json as Record<string, unknown>;
  }

  /** Returns the value of a field; undefined if it is missing or null. */
  get(name: string): unknown {
    this.#known.add(name);
    return Object.hasOwn(this.#json, name) ? this.#json[name] ?? undefined : undefined;
  }

  /** Reads a number. */
  number(
    name: string,
    { minimum, maximum = Infinity, integer = false }: Range,
  ): number | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    const right = typeof value === "number" && value >= minimum && value <= maximum &&
      (!integer || Number.isSafeInteger(value));
    if (right) return value;
    const what = integer ? "an integer" : "a number";
    const range = maximum < Infinity ? `from ${minimum} to ${maximum}` : `of ${minimum} or more`;
    throw this.refuse(name, `${what} ${range}`);
  }

  /** Reads a boolean. */
  flag(name: string): boolean {
    const value = this.get(name) ?? false;
    if (typeof value === "boolean") return value;
    throw this.refuse(name, "true or false");
  }

  /** Reads a string. */
  text(name: string): string | undefined {
    const value = this.get(name);
    if (value === undefined || typeof value === "string") return value;
    throw this.refuse(name, "a string");
  }

  /** Reads one string or several. */
  texts(name: string, most: number): string[] {
    const value = this.get(name) ?? [];
    const all = Array.isArray(value) ? value : [value];
    if (all.length <= most && all.every((one) => typeof one === "string" && one)) return all;
    throw this.refuse(name, `a string, or up to ${most} of them, none empty`);
  }

  /** Reads one text or one list of ids, or several of these. */
  inputs(name: string, most: number): (string | number[])[] {
    const value = this.get(name);
    const isIds = (one: unknown): one is number[] =>
      Array.isArray(one) && one.length > 0 && one.every((id) => Number.isInteger(id));
    const all = typeof value === "string" || isIds(value) ? [value] : value;
    const right = Array.isArray(all) && all.length > 0 && all.length <= most &&
      all.every((one) => typeof one === "string" || isIds(one));
    if (right) return all;
    throw this.refuse(name, `a string, a list of token ids, or up to ${most} of these`);
  }

  /** Accepts fields that have no effect here. */
  ignore(...names: readonly string[]): void {
    for (const name of names) this.#known.add(name);
  }

  /** Accepts fields only with the values that have no effect. */
  allowOnly(fields: Readonly<Record<string, readonly unknown[]>>): void {
    for (const [name, allowed] of Object.entries(fields)) {
      const value = this.get(name);
      const texts = allowed.map((one) => JSON.stringify(one));
      if (value === undefined || texts.includes(JSON.stringify(value))) continue;
      const others = texts.length ? `values but ${texts.join(", ")}` : "this field";
      throw new ApiError(400, `${name}: this server does not support ${others}`, {
        ...{ param: name, code: "unsupported_value" },
      });
    }
  }

  /** Throws if there are fields that nothing has read. */
  finish(): void {
    const unknown = Object.keys(this.#json).find((name) => !this.#known.has(name));
    if (unknown === undefined) return;
    throw new ApiError(400, `${unknown}: this server does not know the field`, {
      ...{ param: unknown, code: "unknown_parameter" },
    });
  }

  /** Returns the error for a field with a wrong value. */
  refuse(name: string, expected: string): ApiError {
    const value = this.get(name);
    const param = name;
    if (value === undefined) {
      return new ApiError(400, `${name}: expected ${expected} but got none`, {
        ...{ param, code: "missing_required_parameter" },
      });
    }
    const got = typeof value === "number" || typeof value === "boolean" ? value : kind(value);
    return new ApiError(400, `${name}: expected ${expected} but got ${got}`, {
      ...{ param, code: "invalid_value" },
    });
  }
}

function kind(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === "string" && value.length < 40
    ? JSON.stringify(value)
    : `a ${typeof value}`;
}

/**
 * Reads the JSON body of a request. Throws an {@linkcode ApiError} for another content type, for more than `limit`
 * bytes, for invalid JSON, and if the body takes longer than `timeout` milliseconds.
 */
export async function readBody(request: Request, limit: number, timeout: number): Promise<Body> {
  const type = request.headers.get("content-type") ?? "";
  // A form on another site, which can be sent without permission, never has this type.
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new ApiError(415, `expected the content-type application/json but got ${type || "none"}`);
  }
  const bytes = await readAll(request, limit, timeout);
  try {
    return new Body(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(400, `expected a body in JSON but got another: ${(error as Error).message}`);
  }
}

async function readAll(request: Request, limit: number, timeout: number): Promise<Uint8Array> {
  const tooLong = () =>
    new ApiError(413, `expected a body of at most ${limit} bytes but got more`, {
      ...{ code: "request_too_large" },
    });
  if (Number(request.headers.get("content-length") ?? 0) > limit) throw tooLong();
  if (!request.body) return new Uint8Array();
  const reader = request.body.getReader();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    reader.cancel().catch(() => {});
  }, timeout);
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    while (true) {
      const { value, done } = await reader.read();
      if (late) throw new ApiError(408, `expected a body within ${timeout} ms but got only a part`);
      if (done) break;
      length += value.length;
      if (length > limit) throw tooLong();
      parts.push(value);
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    if (error instanceof ApiError) throw error;
    throw new ApiError(
      400,
      `expected a whole body but got only a part: ${(error as Error).message}`,
    );
  } finally {
    clearTimeout(timer);
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
