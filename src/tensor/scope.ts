/**
 * Scopes: a tensor made inside one is freed when it ends.
 *
 * @module
 */

/** What a scope frees: a `Tensor`. */
export interface Owned {
  /** Gives its memory back. */
  dispose(): void;
  /** Makes another scope its owner, or none. */
  moveTo(scope: Scope | undefined): void;
}

const open: Scope[] = [];

/**
 * Frees every tensor made while it is open, but those that were kept. Scopes nest; the innermost one owns.
 *
 * Open one with `using`, around code that does not hand tensors to other scopes:
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
 */
export class Scope implements Disposable {
  readonly #owned = new Set<Owned>();
  #closed = false;

  /** Opens a scope inside the ones already open. */
  constructor() {
    open.push(this);
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

  /** Frees what it owns. Scopes opened later and still open are ended first. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    while (open.length && open.at(-1) !== this) open.at(-1)![Symbol.dispose]();
    open.pop();
    this.#closed = true;
    for (const tensor of this.#owned) tensor.dispose();
    this.#owned.clear();
  }
}

/** The innermost open scope. */
export function currentScope(): Scope | undefined {
  return open.at(-1);
}

/**
 * Runs `body` in a scope of its own and frees what it made, but what it returns: a tensor, or an array or
 * plain object of tensors, which the enclosing scope then owns.
 *
 * `body` must not be asynchronous: another task could run inside its scope. Throws a `TypeError` for a
 * promise.
 */
export function scoped<R>(body: () => R): R {
  const outer = currentScope();
  using inner = new Scope();
  const result = body();
  if (result instanceof Promise) throw new TypeError("scoped: the body must not be asynchronous");
  const keep = (value: unknown, depth: number) => {
    if (value === null || typeof value !== "object") return;
    if ("moveTo" in value) {
      if (inner.owns(value as Owned)) (value as Owned).moveTo(outer);
    } else if (depth < 3) Object.values(value).forEach((part) => keep(part, depth + 1));
  };
  keep(result, 0);
  return result;
}

/** Runs `body` with no scope open, so that what it makes lives until it is disposed of. */
export function unscoped<R>(body: () => R): R {
  const hidden = open.splice(0);
  try {
    return body();
  } finally {
    open.splice(0, 0, ...hidden);
  }
}
