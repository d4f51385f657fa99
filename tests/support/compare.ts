/**
 * Comparisons of arrays of any length. `assert.deepEqual` prints a difference of what it is given, which takes minutes
 * where that has some ten thousand elements; these say where the first and the worst differences are.
 *
 * @module
 */
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";

/**
 * `assert.deepEqual` for what holds long arrays: arrays, typed arrays, maps and plain objects of them, which must have the
 * same keys and, by `Object.is`, the same values. Says where the first difference is.
 */
export function assertSame(actual: unknown, expected: unknown, what = "value"): void {
  if (Object.is(actual, expected)) return;
  const [found, wanted] = [actual, expected].map((value) =>
    typeof value === "object" && value !== null ? value as Record<string, unknown> : undefined
  );
  if (!found || !wanted || Object.getPrototypeOf(found) !== Object.getPrototypeOf(wanted)) {
    throw new Error(`${what}: expected ${brief(expected)} but got ${brief(actual)}`);
  }
  if (isList(wanted)) return assertSameElements(found as unknown as List, wanted, what);
  const entries = (value: object) => value instanceof Map ? value : new Map(Object.entries(value));
  const [values, others] = [entries(wanted), entries(found)];
  assertSameElements([...others.keys()].sort(), [...values.keys()].sort(), `keys of ${what}`);
  for (const [key, value] of values) assertSame(others.get(key), value, `${what}, ${key}`);
}

type List = ArrayLike<unknown>;

function isList(value: unknown): value is List {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}

function assertSameElements(actual: List, expected: List, what: string): void {
  assertLength(actual, expected, what);
  for (let i = 0; i < expected.length; i++) {
    if (!Object.is(actual[i], expected[i])) assertSame(actual[i], expected[i], `${what}[${i}]`);
  }
}

/** A value for a message: of a list only what it is. */
function brief(value: unknown): string {
  if (isList(value)) return `${Object.getPrototypeOf(value).constructor.name} of ${value.length}`;
  return typeof value === "string" ? JSON.stringify(value.slice(0, 200)) : String(value);
}

/**
 * Throws unless all numbers agree within `tolerance` of the largest expected one, or of `least` where that is larger;
 * NaN agrees with NaN, and an infinity with itself.
 */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what = "array",
  least = 0,
): void {
  let largest = least;
  for (let i = 0; i < expected.length; i++) {
    if (Number.isFinite(expected[i])) largest = Math.max(largest, Math.abs(expected[i]));
  }
  const allowed = tolerance * (largest || 1);
  assertWithin(actual, expected, () => allowed, what);
}

/** Throws unless each number agrees within `tolerance` times the larger of 1 and the expected one. */
export function assertCloseEach(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what = "array",
): void {
  assertWithin(actual, expected, (value) => tolerance * Math.max(1, Math.abs(value)), what);
}

/** Throws unless the tensors have one shape and elements that agree within `tolerance`. */
export async function assertTensorsClose(
  actual: Tensor,
  expected: Tensor,
  tolerance = 1e-5,
  what = "tensor",
): Promise<void> {
  if (`${actual.shape}` !== `${expected.shape}`) {
    throw new Error(`${what}: expected shape [${expected.shape}] but got [${actual.shape}]`);
  }
  const [found, wanted] = await readTensors([actual, expected]);
  assertWithin(found, wanted, () => tolerance, what);
}

function assertWithin(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  allowed: (expected: number) => number,
  what: string,
): void {
  assertLength(actual, expected, what);
  let [count, at, worst] = [0, 0, -1];
  for (let i = 0; i < expected.length; i++) {
    if (actual[i] === expected[i] || Object.is(actual[i], expected[i])) continue;
    const error = Math.abs(actual[i] - expected[i]);
    if (error <= allowed(expected[i])) continue;
    // A NaN is the worst error of all.
    const size = Number.isNaN(error) ? Infinity : error;
    if (size > worst) [at, worst] = [i, size];
    count++;
  }
  if (count > 0) {
    throw new Error(
      `${what}[${at}]: expected ${expected[at]} but got ${actual[at]}, ` +
        `more than ${allowed(expected[at])} away; so are ${count} of ${expected.length} elements`,
    );
  }
}

function assertLength(actual: List, expected: List, what: string): void {
  if (actual.length !== expected.length) {
    throw new Error(`${what}: expected ${expected.length} elements but got ${actual.length}`);
  }
}
