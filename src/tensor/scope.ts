/**
 * Scopes: a tensor made inside one is freed when it ends.
 *
 * @module
 */
import { enterContext, runInContext, runSynchronously, taskContext } from "./async_context.ts";

/** What a scope frees: a `Tensor`. */
export interface Owned {
  /** Gives its memory back. */
  dispose(): void;
  /** Makes another scope its owner, or none. */
  moveTo(scope: Scope | undefined): void;
}

/**
 * Frees every tensor made while it is open, but those that were kept. Scopes nest; the innermost one owns.
 *
 * A scope belongs to the asynchronous function that opens it, and to what that function calls: others that run
 * while it waits, such as the handlers of a server, have their own. Open one with `using`. JavaScript does not
 * tell when a function that waits has returned to its caller, so the caller is still inside the scope until it
 * ends: await the call, or start it with {@linkcode scoped}, when tensors are made in the meantime.
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

  /** True for a tensor that this scope will free. */
  owns(tensor: Owned): boolean {
    return this.#owned.has(tensor);
  }

  /** Lets a tensor outlive this scope. */
  release(tensor: Owned): void {
    this.#owned.delete(tensor);
  }

  /**
   * Frees what it owns; doing it twice does nothing. Scopes inside stay open, as they may belong to other tasks,
   * but this task leaves them.
   */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    const current = currentScope();
    let inner = current;
    while (inner && inner !== this) inner = inner.#outer;
    this.#closed = true;
    this.#outer = this.#outer?.innermostOpen; // no chain of closed scopes is kept alive
    if (inner && current !== this) enterContext({ ...taskContext(), scope: this.#outer });
    for (const tensor of this.#owned) tensor.dispose();
    this.#owned.clear();
  }
}

/** The innermost open scope of the running task. */
export function currentScope(): Scope | undefined {
  const context = taskContext();
  // Whoever shares this context has left a scope that is closed.
  const current = (context.scope as Scope | undefined)?.innermostOpen;
  context.scope = current;
  return current;
}

/**
 * Runs `body` in a scope of its own and frees what it made, but what it returns: a tensor, or an array or
 * plain object of tensors, which the enclosing scope then owns.
 *
 * Where `body` is asynchronous, its scope ends when its promise settles, and the caller stays outside of it.
 * (A runtime without `AsyncLocalStorage`, as a browser, cannot do that: a `TypeError` there.)
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

/** Makes `outer` the owner of the tensors of `inner` in a value, to three levels deep. */
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
