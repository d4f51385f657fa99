/** cblas by FFI (the WASM helper writes the real one: keep these names). */
export interface Blas {
  readonly name: string;
}
export function openBlas(): Blas | undefined {
  return undefined;
}
