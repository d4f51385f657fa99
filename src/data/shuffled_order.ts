// An order that is reproducible anywhere and at any time.

/**
 * Returns the numbers from 0 to `count - 1` in an order that only `seed` and `epoch` determine, so that a run that
 * resumes in the middle of an epoch needs no other state (Fisher and Yates's shuffle).
 */
export function shuffledOrder(count: number, seed: number, epoch: number): Uint32Array {
  const order = Uint32Array.from(Array(count).keys());
  const key = mixed(mixed(seed) + epoch);
  for (let i = count - 1; i > 0; i--) {
    const random = mixed(key + Math.imul(i, 0x9E3779B9)) / 2 ** 32;
    const j = Math.floor(random * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** Returns 32 bits, each of which depends on all of `x`: the last steps of MurmurHash3 (Appleby 2011). */
function mixed(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85EBCA6B);
  x = Math.imul(x ^ (x >>> 13), 0xC2B2AE35);
  return (x ^ (x >>> 16)) >>> 0;
}
