/**
 * GPU buffers by size class, kept for reuse. Of the free buffers of a class, the oldest is used first. What a loop gets
 * then depends only on which buffers are free when it starts, so each iteration gets the same buffers in the same
 * order, and the bind groups made for them stay valid. (A stack, last in first out, would hand them out in another
 * order each time.)
 *
 * @module
 */
import type { MemoryReport } from "../device.ts";
import type { OutOfMemoryError } from "../errors.ts";
import { mebibytes, outOfMemory, type Purpose } from "../out_of_memory.ts";

/** A GPU buffer and the device's bookkeeping for it. */
export interface Allocation {
  /** Unique; part of a bind group's key. */
  readonly id: number;
  /** The buffer. */
  readonly gpu: GPUBuffer;
  /** Its size, which is that of its class. */
  readonly bytes: number;
  /** The last batch of launches that used it. */
  batch: number;
  /** Bind groups that contain it, to be dropped with it. */
  readonly bindGroups: Set<string>;
  /** When it was released, counted in releases. */
  released: number;
  /** Whether the GPU had no memory for it, which it reports later. Such a buffer is not pooled. */
  failed?: boolean;
}

/** What a {@linkcode BufferPool} needs from its device. */
export interface PoolOptions {
  /**
   * Creates a GPU buffer. If there is not enough memory, it throws, or calls `fail` once the GPU reports it.
   */
  create(bytes: number, fail: () => void, purpose?: Purpose): GPUBuffer;
  /** Called before buffers are destroyed, to submit launches that use them. */
  beforeDestroy(): void;
  /** Called for each buffer that is destroyed. */
  onDestroy(allocation: Allocation): void;
  /** Maximum bytes of one buffer. */
  readonly maxBufferBytes: number;
  /** Maximum bytes in use and pooled together. */
  readonly memoryLimit: number;
}

/** Bytes that the pool may keep however little memory programs use. */
const KEPT = 64 * 2 ** 20;

/** The size of the class of `bytes`: a multiple of 16, and above 512 bytes less than 3.2 % larger. */
export function sizeClass(bytes: number): number {
  const step = Math.max(16, 2 ** (Math.floor(Math.log2(Math.max(bytes, 1))) - 5));
  return Math.max(16, Math.ceil(bytes / step) * step);
}

/** The pool of GPU buffers. */
export class BufferPool {
  /** Free buffers by class, the oldest last. */
  #free = new Map<number, Allocation[]>();
  #live = 0;
  #peak = 0;
  #highest = 0;
  #pooled = 0;
  #buffers = 0;
  #ids = 0;
  #releases = 0;
  #options: PoolOptions;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Takes a buffer of at least `bytes`, with undefined content. */
  take(bytes: number, purpose?: Purpose): Allocation {
    const { maxBufferBytes, memoryLimit } = this.#options;
    if (bytes > maxBufferBytes) {
      const why = `one buffer may have ${mebibytes(maxBufferBytes)} on this device`;
      throw this.outOfMemory(bytes, why, purpose);
    }
    const size = Math.min(sizeClass(bytes), Math.floor(maxBufferBytes / 16) * 16 || bytes);
    const allocation = this.#free.get(size)?.pop();
    if (allocation) {
      this.#pooled -= size;
      return this.#count(allocation);
    }
    if (this.#live + this.#pooled + size > memoryLimit) {
      this.clear();
      if (this.#live + size > memoryLimit) {
        const why = `the device was opened with a memory limit of ${mebibytes(memoryLimit)}`;
        throw this.outOfMemory(bytes, why, purpose);
      }
    }
    const gpu = this.#create(bytes, size, () => created.failed = true, purpose);
    const created: Allocation = {
      id: ++this.#ids,
      gpu,
      bytes: size,
      batch: 0,
      bindGroups: new Set(),
      released: 0,
    };
    return this.#count(created);
  }

  /** Returns a buffer to the pool. */
  give(allocation: Allocation): void {
    this.#live -= allocation.bytes;
    this.#pooled += allocation.bytes;
    this.#buffers--;
    allocation.released = ++this.#releases;
    if (allocation.failed) return this.#destroy([allocation]);
    const free = this.#free.get(allocation.bytes);
    if (free) insert(free, allocation);
    else this.#free.set(allocation.bytes, [allocation]);
    if (this.#live + this.#pooled > 2 * this.#highest + KEPT) this.#trim();
  }

  /** Bytes in use, peak and pooled. */
  report(): MemoryReport {
    return { live: this.#live, peak: this.#peak, pooled: this.#pooled, buffers: this.#buffers };
  }

  /** Resets the peak to the current use. */
  resetPeak(): void {
    this.#peak = this.#live;
  }

  /** Destroys all free buffers, and forgets earlier memory use. */
  clear(): void {
    this.#highest = this.#live;
    this.#destroy([...this.#free.values()].flat());
    this.#free.clear();
  }

  /** The error for a request of `bytes`. */
  outOfMemory(bytes: number, why: string, purpose?: Purpose): OutOfMemoryError {
    return outOfMemory(bytes, why, this.report(), purpose);
  }

  #create(bytes: number, size: number, fail: () => void, purpose?: Purpose): GPUBuffer {
    try {
      return this.#options.create(size, fail, purpose);
    } catch {
      this.clear();
    }
    try {
      return this.#options.create(size, fail, purpose);
    } catch (error) {
      throw this.outOfMemory(
        bytes,
        error instanceof Error ? error.message : String(error),
        purpose,
      );
    }
  }

  #count(allocation: Allocation): Allocation {
    this.#live += allocation.bytes;
    this.#buffers++;
    this.#peak = Math.max(this.#peak, this.#live);
    this.#highest = Math.max(this.#highest, this.#live);
    return allocation;
  }

  /** Frees sizes that are no longer requested, the longest unused first. */
  #trim(): void {
    const free = [...this.#free.values()].flat().sort((a, b) => a.released - b.released);
    const gone = new Set<Allocation>();
    let excess = this.#live + this.#pooled - (1.5 * this.#highest + KEPT);
    for (const allocation of free) {
      if (excess <= 0) break;
      excess -= allocation.bytes;
      gone.add(allocation);
    }
    for (const [size, kept] of this.#free) {
      this.#free.set(size, kept.filter((allocation) => !gone.has(allocation)));
    }
    this.#destroy([...gone]);
  }

  #destroy(allocations: Allocation[]): void {
    if (allocations.length === 0) return;
    this.#options.beforeDestroy();
    for (const allocation of allocations) {
      this.#pooled -= allocation.bytes;
      this.#options.onDestroy(allocation);
      allocation.gpu.destroy();
    }
  }
}

/** Inserts `allocation` into a list sorted by descending id. */
function insert(sorted: Allocation[], allocation: Allocation): void {
  let from = 0;
  let to = sorted.length;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (sorted[middle]!.id > allocation.id) from = middle + 1;
    else to = middle;
  }
  sorted.splice(from, 0, allocation);
}
