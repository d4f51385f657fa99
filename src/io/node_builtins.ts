/**
 * Node's built-in modules, which Deno has. They are not imported, since a browser could not resolve that; in a browser,
 * calling one of these functions throws.
 *
 * @module
 */
const { process } = globalThis as { process?: { getBuiltinModule?(name: string): unknown } };

function builtin<T extends object>(name: string): T {
  return (process?.getBuiltinModule?.(name) as T | undefined) ?? new Proxy({} as T, {
    get: (_, member) => () => {
      throw new Error(`${String(member)}: expected a runtime with ${name} but got a browser`);
    },
  });
}

/** Whether these modules are available. */
export const hasNodeBuiltins: boolean = process?.getBuiltinModule !== undefined;

const path = builtin<typeof import("node:path")>("node:path");
/** From `node:path`. */
export const basename: typeof path.basename = path.basename;
/** From `node:path`. */
export const dirname: typeof path.dirname = path.dirname;
/** From `node:path`. */
export const join: typeof path.join = path.join;
/** From `node:path`. */
export const resolve: typeof path.resolve = path.resolve;

const url = builtin<typeof import("node:url")>("node:url");
/** From `node:url`. */
export const fileURLToPath: typeof url.fileURLToPath = url.fileURLToPath;

const crypto = builtin<typeof import("node:crypto")>("node:crypto");
/** From `node:crypto`. */
export const createHash: typeof crypto.createHash = crypto.createHash;

/** `node:zlib`. */
export const zlib: typeof import("node:zlib") = builtin("node:zlib");
/** `node:stream`. */
export const stream: typeof import("node:stream") = builtin("node:stream");
/** `node:worker_threads`. */
export const workerThreads: typeof import("node:worker_threads") = builtin("node:worker_threads");
