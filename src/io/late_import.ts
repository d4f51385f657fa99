/**
 * Packages that are fetched when a function needs them, and not when the library is imported.
 *
 * @module
 */

/**
 * Imports a package by a specifier such as `npm:vega@6.4.0`. Deno fetches what is imported by a literal at the start of
 * the program, even in a function that is never called; this it cannot see. The type is `typeof import("npm:...")`.
 */
export async function importLate<T>(specifier: string): Promise<T> {
  return await import(specifier);
}
