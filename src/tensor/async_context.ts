/**
 * State that belongs to an asynchronous task rather than to the process: the innermost open scope, and whether
 * gradients are recorded and products are batch-invariant. It survives an `await`, whatever other tasks do in the
 * meantime.
 *
 * `AsyncLocalStorage` tells tasks apart. A browser has none: there, everything is one task, bodies of `scoped` and
 * `noGrad` must be synchronous, and scopes of concurrent functions must not overlap.
 *
 * @module
 */
import type { AsyncLocalStorage } from "node:async_hooks";

/** The state of a task. Tasks may share one; a change for a single task makes a new one. */
export interface TaskContext {
  /** The innermost `Scope` opened in the task; it may be closed by now. Typed by `scope.ts`, which imports this file. */
  scope: unknown;
  /** Whether operations record gradients. */
  readonly recording: boolean;
  /** Whether the rows of a product must not depend on how many there are (see `batchInvariant` in `ops/matmul.ts`). */
  readonly batchInvariant: boolean;
}

// Not imported, since a bundle for the browser could not resolve it. Needs no permission.
const storage: AsyncLocalStorage<TaskContext> | undefined = (() => {
  const { process } = globalThis as { process?: { getBuiltinModule?(name: string): unknown } };
  const hooks = process?.getBuiltinModule?.("node:async_hooks") as
    | { AsyncLocalStorage: new () => AsyncLocalStorage<TaskContext> }
    | undefined;
  return hooks && new hooks.AsyncLocalStorage();
})();

const initial: TaskContext = { scope: undefined, recording: true, batchInvariant: false };

/**
 * Overrides the task's context while synchronous code runs. It is a variable because entering an `AsyncLocalStorage`
 * costs more than a microsecond. Without `AsyncLocalStorage`, this is the only context.
 */
let synchronous: TaskContext | undefined = storage ? undefined : initial;

/** The context of the running task. */
export function taskContext(): TaskContext {
  return synchronous ?? storage!.getStore() ?? initial;
}

/** Sets the context of the running task from now on. */
export function enterContext(context: TaskContext): void {
  if (synchronous) synchronous = context;
  else storage!.enterWith(context);
}

/**
 * Runs `body` in another context, including what an asynchronous body does later. For an asynchronous body, throws a
 * `TypeError` if tasks cannot be told apart, and inside {@linkcode runSynchronously}.
 */
export function runInContext<R>(operation: string, context: TaskContext, body: () => R): R {
  if (!synchronous) return storage!.run(context, body);
  const result = runSynchronously(context, body);
  if (result instanceof Promise) {
    result.catch(() => {}); // the error thrown here is more helpful
    throw new TypeError(
      `${operation}: expected a synchronous body ${
        storage ? "in a backward pass" : "in a runtime without AsyncLocalStorage"
      } but got a promise`,
    );
  }
  return result;
}

/** Runs a synchronous `body` in another context, at almost no cost. */
export function runSynchronously<R>(context: TaskContext, body: () => R): R {
  const before = synchronous;
  synchronous = context;
  try {
    return body();
  } finally {
    synchronous = before;
  }
}
