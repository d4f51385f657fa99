/** The compiled kernels, ready to be instantiated on any thread. */
declare const module: WebAssembly.Module;
export default module;
