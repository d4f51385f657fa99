/**
 * f16 bindings for kernels that compute in f32: WebAssembly and BLAS have no arithmetic on f16.
 *
 * @module
 */
import { BYTES } from "../dtype.ts";
import type { Heap } from "./heap.ts";
import type { ThreadPool } from "./threads.ts";

/** Elements per chunk of a conversion. */
const CHUNK = 65536;

interface Copy {
  readonly f16: number;
  readonly f32: number;
  readonly count: number;
  readonly written: boolean;
}

/** The f32 copies of the f16 bindings of one launch, allocated from the device's heap. */
export class Widened {
  readonly #pool: ThreadPool;
  readonly #heap: Heap;
  readonly #copies: Copy[] = [];

  constructor(pool: ThreadPool, heap: Heap) {
    this.#pool = pool;
    this.#heap = heap;
  }

  /**
   * The address of the copy of the `count` elements at address `f16`. Its content is undefined unless `read`. Copies
   * that are `written` are rounded back by {@linkcode store}. Throws an `OutOfMemoryError`.
   */
  copy(f16: number, count: number, read: boolean, written: boolean): number {
    // Attention often reads its queries, keys and values from one tensor.
    const before = this.#copies.find((copy) => copy.f16 === f16 && copy.count === count);
    if (before && read && !written && !before.written) return before.f32;
    const bytes = count * BYTES.f32;
    const f32 = this.#heap.allocate(bytes, () => `f32 copies of f16 bindings`);
    this.#copies.push({ f16, f32, count, written });
    if (read) this.#pool.run("f16_to_f32", count, CHUNK, f16, f32);
    return f32;
  }

  /** Rounds the written copies back to f16, to nearest even. */
  store(): void {
    for (const { f16, f32, count, written } of this.#copies) {
      if (written) this.#pool.run("f32_to_f16", count, CHUNK, f32, f16);
    }
  }

  /** Frees the copies. */
  release(): void {
    for (const { f32, count } of this.#copies) this.#heap.release(f32, count * BYTES.f32);
  }
}
