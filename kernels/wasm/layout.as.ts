// Where things lie in the one shared memory:
//   [0, 4096)          the job descriptor, owned by src/device/cpu/threads.ts
//   [4096, heapBase)   constant tables of this module, then one scratch block for each thread
//   [heapBase, 4 GiB)  the caller's
// Addresses are unsigned 32-bit (`usize`): never compare them signed.

/** Bytes of scratch that one thread owns: packed panels, attention tiles, partial sums. */
export const SCRATCH_BYTES: usize = 4 << 20;

/** First byte after the constant tables, on a page boundary. */

function scratchStart(): usize {
  return (__heap_base + 0xffff) & ~0xffff;
}

/** The scratch block of a thread. */

export function scratch(thread: i32): usize {
  return scratchStart() + <usize> thread * SCRATCH_BYTES;
}

/** The address of product `item`'s matrix; a batch has two strides, in elements, as in `MatmulParams`. */
export function matrixAt(
  base: usize,
  item: usize,
  inner: usize,
  outerStride: usize,
  innerStride: usize,
): usize {
  return base + (item / inner * outerStride + item % inner * innerStride << 2);
}

/** First byte that belongs to the caller when `threads` threads run. */
export function heap_base(threads: i32): usize {
  return scratch(threads);
}
