/**
 * Hashes of byte strings and of id pairs. They are seeded anew in every process, so that no text or
 * file can be made to collide on purpose; ids never depend on them.
 *
 * @module
 */

const PRIME = 0x01000193;

/** What the hash of an empty byte string is in this process. */
const HASH_SEED: number = crypto.getRandomValues(new Int32Array(1))[0]!;

/** FNV-1a over `bytes[start..end)`; `hash` continues the hash of the bytes before. */
export function hashBytes(bytes: Uint8Array, start: number, end: number, hash = HASH_SEED): number {
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, PRIME);
  return hash;
}

/** Mixes the high bits down, for tables that index by the low ones. */
export function spread(hash: number): number {
  hash = Math.imul(hash ^ hash >>> 15, 0x2c1b3c6d);
  return hash ^ hash >>> 13;
}

/** The hash of two ids. */
export function hashPair(left: number, right: number): number {
  return spread(Math.imul(left ^ HASH_SEED, 0x27d4eb2f) + Math.imul(right, 0x165667b1) | 0);
}

/** Whether `a` from `atA` and `b` from `atB` agree over `length` bytes. */
export function sameBytes(
  a: Uint8Array,
  atA: number,
  b: Uint8Array,
  atB: number,
  length: number,
): boolean {
  for (let i = 0; i < length; i++) if (a[atA + i] !== b[atB + i]) return false;
  return true;
}
