/**
 * Imports packages when a function needs them, not when the library is imported.
 *
 * @module
 */

/**
 * Imports a package by a specifier such as `npm:vega@6.4.0`. Deno fetches literal imports at the start of the program,
 * even in a function that is never called; it cannot see this one. The type is `typeof import("npm:...")`.
 */
export async function importLate<T>(specifier: string): Promise<T> {
  return await import(specifier);
}
