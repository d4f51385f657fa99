/**
 * Random streams whose position can be saved.
 *
 * @module
 */
import type { StreamParams } from "../../kernels/sampling/philox.ts";

/** A {@linkcode RandomState} as JSON. */
export interface RandomStateJson {
  /** The seed. */
  readonly seed: number;
  /** How many numbers were drawn so far. */
  readonly drawn: number;
}

/**
 * A random stream: a seed, and how many numbers were drawn. The generator is Philox 4x32-10, which gives the same
 * numbers on every device. With its state in a checkpoint, dropout and sampling resume exactly.
 */
export class RandomState {
  #seed: number;
  #drawn: number;

  /**
   * Creates the stream of a seed, an integer of at least 0, from the start, or after `drawn` numbers. Without a seed,
   * it uses a random one. Throws a `RangeError` for invalid numbers.
   */
  constructor(seed?: number, drawn?: number) {
    this.#seed = checked("seed", seed ?? freshSeed());
    this.#drawn = checked("drawn", drawn ?? 0);
  }

  /** Returns the seed and the position. */
  state(): RandomStateJson {
    return { seed: this.#seed, drawn: this.#drawn };
  }

  /** Restores a saved seed and position. */
  restore({ seed, drawn }: RandomStateJson): void {
    this.#seed = checked("seed", seed);
    this.#drawn = checked("drawn", drawn);
  }

  /** Reserves the next `count` numbers, rounded up to blocks of four, and returns where they begin, for a kernel. */
  draw(count: number): StreamParams {
    const block = this.#drawn / 4;
    this.#drawn += Math.ceil(count / 4) * 4;
    return {
      seed_low: this.#seed % 2 ** 32,
      seed_high: Math.floor(this.#seed / 2 ** 32),
      block_low: block % 2 ** 32,
      block_high: Math.floor(block / 2 ** 32),
    };
  }
}

function checked(name: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 0 || (name === "drawn" && value % 4 !== 0)) {
    throw new RangeError(
      `RandomState: expected ${name} to be an integer of 0 or more but got ${value}`,
    );
  }
  return value;
}

/** 52 random bits from the operating system. */
function freshSeed(): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return (high >>> 12) * 2 ** 32 + low;
}

const shared = new RandomState();

/** Returns the shared random stream, the default everywhere. It starts from a random seed in each process. */
export function defaultRandom(): RandomState {
  return shared;
}

/**
 * Seeds the shared random stream, like PyTorch's `manual_seed`, so that initial weights, dropout, sampling and random
 * tensors are reproducible.
 */
export function manualSeed(seed: number): void {
  shared.restore({ seed, drawn: 0 });
}
