/**
 * Streams of random numbers whose position can be saved.
 *
 * @module
 */
import type { StreamParams } from "../../kernels/sampling/philox.ts";

/** A {@linkcode RandomState} as JSON keeps it. */
export interface RandomStateJson {
  /** The key of the stream. */
  readonly seed: number;
  /** Numbers drawn so far. */
  readonly drawn: number;
}

/**
 * A stream of random numbers: a seed, and how many were drawn. The numbers are those of Philox 4x32-10, the
 * same on every device; its state in a checkpoint makes dropout and sampling go on exactly.
 */
export class RandomState {
  #seed: number;
  #drawn: number;

  /**
   * The stream of a seed, an integer of 0 or more, from its beginning; without a seed, one that no other process has.
   * Throws a `RangeError`.
   */
  constructor(seed?: number, drawn?: number) {
    this.#seed = checked("seed", seed ?? freshSeed());
    this.#drawn = checked("drawn", drawn ?? 0);
  }

  /** The seed and the position. */
  state(): RandomStateJson {
    return { seed: this.#seed, drawn: this.#drawn };
  }

  /** Goes to a saved position, of any seed. */
  restore({ seed, drawn }: RandomStateJson): void {
    this.#seed = checked("seed", seed);
    this.#drawn = checked("drawn", drawn);
  }

  /** Takes the next `count` numbers (whole blocks of four) and says where they begin, for a kernel. */
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

/** 52 bits from the system's generator. */
function freshSeed(): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return (high >>> 12) * 2 ** 32 + low;
}

const shared = new RandomState();

/** The stream that is used where none is given; it starts from a fresh seed in each process. */
export function defaultRandom(): RandomState {
  return shared;
}

/**
 * Starts the stream that is used where none is given from a seed, as PyTorch's `manual_seed`: initial weights, dropout,
 * sampling and random tensors then repeat.
 */
export function manualSeed(seed: number): void {
  shared.restore({ seed, drawn: 0 });
}
