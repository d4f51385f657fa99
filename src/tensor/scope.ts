/**
 * Scopes, which free the tensors made inside them when they end.
 *
 * @module
 */
import { enterContext, runInContext, runSynchronously, taskContext } from "./async_context.ts";

/** What a scope owns: a `Tensor`. */
export interface Owned {
  /** Frees its memory. */
  dispose(): void;
  /** Makes another scope the owner, or none. */
  moveTo(scope: Scope | undefined): void;
}

/**
 * Frees every tensor made while it is open, except those that were kept. Scopes nest; the innermost one owns a new
 * tensor.
 *
 * A scope belongs to the asynchronous function that opens it and to what that function calls. Functions that run while
 * it waits, such as other request handlers of a server, have their own. Open a scope with `using`. JavaScript does not
 * reveal when a waiting function has returned to its caller, so the caller is also inside the scope until it ends:
 * await the call, or start it with {@linkcode scoped}, if you make tensors in the meantime.
 *
 * A scope that is never closed frees nothing; its tensors are left to the garbage collector.
 *
 * @example A scope frees what was made in it
 * ```ts
 * import { add, CpuDevice, Scope, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const before = device.memory().live;
 * {
 *   using _scope = new Scope();
 *   const x = tensor([1, 2, 3], { device });
 *   add(x, 1);
 * }
 * assert.equal(device.memory().live, before);
 * ```
 *
 * @example Each request has its own
 * ```ts
 * import { add, CpuDevice, Scope, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * async function request(milliseconds: number): Promise<number> {
 *   using _scope = new Scope();
 *   const x = tensor([milliseconds], { device });
 *   await new Promise((resolve) => setTimeout(resolve, milliseconds));
 *   return await add(x, 1).item();
 * }
 * assert.deepEqual(await Promise.all([request(2), request(1)]), [3, 2]);
 * ```
 */
export class Scope implements Disposable {
  readonly #owned = new Set<Owned>();
  #outer: Scope | undefined;
  #closed = false;

  /** Opens a scope inside the innermost one of the running task. */
  constructor() {
    this.#outer = currentScope();
    enterContext({ ...taskContext(), scope: this });
  }

  /** This scope, or the innermost one around it that is still open. */
  get innermostOpen(): Scope | undefined {
    return this.#closed ? this.#outer?.innermostOpen : this;
  }

  /** Makes this scope the owner. */
  own(tensor: Owned): void {
    this.#owned.add(tensor);
  }

  /** Whether this scope will free the tensor. */
  owns(tensor: Owned): boolean {
    return this.#owned.has(tensor);
  }

  /** Lets a tensor outlive this scope. */
  release(tensor: Owned): void {
    this.#owned.delete(tensor);
  }

  /**
   * Frees what it owns; doing so twice has no effect. Inner scopes stay open, as they may belong to other tasks, but
   * this task leaves them.
   */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    const current = currentScope();
    let inner = current;
    while (inner && inner !== this) inner = inner.#outer;
    this.#closed = true;
    this.#outer = this.#outer?.innermostOpen; // keeps no chain of closed scopes alive
    if (inner && current !== this) enterContext({ ...taskContext(), scope: this.#outer });
    for (const tensor of this.#owned) tensor.dispose();
    this.#owned.clear();
  }
}

/** The innermost open scope of the running task. */
export function currentScope(): Scope | undefined {
  const context = taskContext();
  // A scope that another task with this context has closed no longer counts.
  const current = (context.scope as Scope | undefined)?.innermostOpen;
  context.scope = current;
  return current;
}

/**
 * Runs `body` in a new scope and frees what it made, except what it returns: a tensor, or an array or plain object of
 * tensors, which the enclosing scope then owns.
 *
 * If `body` is asynchronous, its scope ends when its promise settles, and the caller stays outside of it. A runtime
 * without `AsyncLocalStorage`, such as a browser, cannot do that and throws a `TypeError`.
 *
 * @example Two tasks at a time
 * ```ts
 * import { CpuDevice, mul, scoped, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const square = (value: number) =>
 *   scoped(async () => {
 *     const x = tensor([value], { device });
 *     await Promise.resolve();
 *     return mul(x, x);
 *   });
 * const [four, nine] = await Promise.all([square(2), square(3)]);
 * assert.deepEqual([await four.item(), await nine.item()], [4, 9]);
 * assert.equal(device.memory().buffers, 2);
 * ```
 */
export function scoped<R>(body: () => R): R {
  const context = taskContext();
  const outer = currentScope();
  const inner = runSynchronously(context, () => new Scope());
  const finish = <T>(result: T): T => {
    handOver(result, inner, outer?.innermostOpen);
    return result;
  };
  let result: R;
  try {
    result = runInContext("scoped", { ...context, scope: inner }, body);
    if (!(result instanceof Promise)) finish(result);
  } catch (error) {
    inner[Symbol.dispose]();
    throw error;
  }
  if (result instanceof Promise) {
    return result.then(finish).finally(() => inner[Symbol.dispose]()) as R;
  }
  inner[Symbol.dispose]();
  return result;
}

/** Makes `outer` the owner of the tensors of `inner` in a value, up to three levels deep. */
function handOver(value: unknown, inner: Scope, outer: Scope | undefined, depth = 0): void {
  if (value === null || typeof value !== "object") return;
  if ("moveTo" in value) {
    if (inner.owns(value as Owned)) (value as Owned).moveTo(outer);
  } else if (depth < 3) {
    Object.values(value).forEach((part) => handOver(part, inner, outer, depth + 1));
  }
}

/** Runs `body` with no scope open, so that its tensors stay until they are disposed of. */
export function unscoped<R>(body: () => R): R {
  return runInContext("unscoped", { ...taskContext(), scope: undefined }, body);
}
