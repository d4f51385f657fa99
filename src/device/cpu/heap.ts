/**
 * An allocator over a growing WebAssembly memory: best fit, with adjacent free blocks merged, so that the buffers of a
 * training step fit where those of the previous one were.
 *
 * @module
 */
import type { MemoryReport } from "../device.ts";
import { mebibytes, outOfMemory, type Purpose } from "../out_of_memory.ts";

const PAGE = 65536;
const MOST = 65536 * PAGE; // the limit of 32-bit addresses
const ALIGNMENT = 64; // a cache line, and wide enough for any SIMD load

interface Block {
  at: number;
  bytes: number;
}

/** Allocates byte ranges of a shared memory. */
export class Heap {
  /** Bytes in use. */
  live = 0;
  /** The maximum of `live` so far. */
  peak = 0;
  /** The number of blocks in use. */
  blocks = 0;
  readonly #memory: WebAssembly.Memory;
  readonly #free: Block[] = []; // by address
  #end: number;

  /** A heap in `memory`, starting at byte `base`. */
  constructor(memory: WebAssembly.Memory, base: number) {
    this.#memory = memory;
    this.#end = roundUp(base);
  }

  /** Free bytes within the memory's current size. */
  get pooled(): number {
    return this.#free.reduce((sum, block) => sum + block.bytes, 0);
  }

  /** Bytes in use, peak and pooled. */
  report(): MemoryReport {
    return { live: this.live, peak: this.peak, pooled: this.pooled, buffers: this.blocks };
  }

  /** Allocates `bytes` bytes with undefined content and returns the address. Throws an `OutOfMemoryError`. */
  allocate(bytes: number, purpose?: Purpose): number {
    const wanted = Math.max(roundUp(bytes), ALIGNMENT);
    let best = -1;
    for (let i = 0; i < this.#free.length; i++) {
      const size = this.#free[i]!.bytes;
      if (size >= wanted && (best < 0 || size < this.#free[best]!.bytes)) best = i;
      if (size === wanted) break;
    }
    const at = best < 0 ? this.#grow(wanted, purpose) : this.#take(best, wanted);
    this.live += wanted;
    this.blocks++;
    this.peak = Math.max(this.peak, this.live);
    return at;
  }

  /** Frees a block that {@linkcode allocate} returned for this many bytes. */
  release(at: number, bytes: number): void {
    const size = Math.max(roundUp(bytes), ALIGNMENT);
    this.live -= size;
    this.blocks--;
    this.#insert({ at, bytes: size });
  }

  #take(index: number, bytes: number): number {
    const block = this.#free[index]!;
    const at = block.at;
    if (block.bytes === bytes) this.#free.splice(index, 1);
    else {
      block.at += bytes;
      block.bytes -= bytes;
    }
    return at;
  }

  /** Grows the memory, using a free block at its very end if there is one. */
  #grow(bytes: number, purpose?: Purpose): number {
    const last = this.#free.at(-1);
    const tail = last && last.at + last.bytes === this.#end ? last : undefined;
    const at = tail?.at ?? this.#end;
    const missing = at + bytes - this.#memory.buffer.byteLength;
    if (missing > 0) {
      try {
        this.#memory.grow(Math.ceil(missing / PAGE));
      } catch {
        const largest = this.#free.reduce((most, block) => Math.max(most, block.bytes), 0);
        const end = at + bytes > MOST
          ? `the CPU device's memory ends at ${mebibytes(MOST)}`
          : `the system gives the CPU device no more than it has`;
        throw outOfMemory(
          bytes,
          largest ? `${end} and its largest free piece has ${mebibytes(largest)}` : end,
          this.report(),
          purpose,
        );
      }
    }
    if (tail) this.#free.pop();
    this.#end = at + bytes;
    return at;
  }

  #insert(block: Block): void {
    const free = this.#free;
    let low = 0;
    let high = free.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (free[middle]!.at < block.at) low = middle + 1;
      else high = middle;
    }
    const before = free[low - 1];
    const after = free[low];
    const joinsBefore = before && before.at + before.bytes === block.at;
    const joinsAfter = after && block.at + block.bytes === after.at;
    if (joinsBefore && joinsAfter) {
      before.bytes += block.bytes + after.bytes;
      free.splice(low, 1);
    } else if (joinsBefore) before.bytes += block.bytes;
    else if (joinsAfter) {
      after.at = block.at;
      after.bytes += block.bytes;
    } else free.splice(low, 0, block);
  }
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
