// The layout of the shared memory:
//   [0, 4096)          the job descriptor, owned by src/device/cpu/threads.ts
//   [4096, heapBase)   constant tables of this module, then one scratch block per thread
//   [heapBase, 4 GiB)  owned by the caller
// Addresses are unsigned 32-bit (`usize`): never compare them signed.

/** The bytes of scratch of one thread: packed panels, attention tiles, partial sums. */
export const SCRATCH_BYTES: usize = 4 << 20;

/** The first byte after the constant tables, on a page boundary. */

function scratchStart(): usize {
  return (__heap_base + 0xffff) & ~0xffff;
}

/** The scratch block of a thread. */

export function scratch(thread: i32): usize {
  return scratchStart() + <usize> thread * SCRATCH_BYTES;
}

/** The address of the matrix of product `item`; a batch has two strides, in elements, as in `MatmulParams`. */
export function matrixAt(
  base: usize,
  item: usize,
  inner: usize,
  outerStride: usize,
  innerStride: usize,
): usize {
  return base + (item / inner * outerStride + item % inner * innerStride << 2);
}

/** The first byte that belongs to the caller when `threads` threads run. */
export function heap_base(threads: i32): usize {
  return scratch(threads);
}

/**
 * The number at an address of `memory.data` in all four lanes. V8 builds a `v128.const` anew, by three instructions, wherever
 * it is used, inside loops too; a load is one instruction.
 */
// @ts-ignore: decorator
@inline
export function lanes(constant: usize): v128 {
  return v128.load32_splat(constant);
}
