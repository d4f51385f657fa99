// Source-phase import: the compiled module, without any permission. `deno check` does not accept the syntax in a .ts file.
// @ts-self-types="./kernels.d.ts"
import source module from "./kernels.wasm";

export default module;
