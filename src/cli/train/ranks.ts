/** What the ranks of a run tell each other between two steps. */
import type { Communicator } from "../../../mod.ts";

/** A rank is slow where it computes this many times as long as the median of all. */
const SLOW = 1.5;
/** Steps before that is checked, and milliseconds between two warnings. */
const FIRST_STEPS = 5, WARN_EVERY = 60_000;
/** Weight of a new step in the running means. */
const WEIGHT = 0.2;

/** The ranks of a run. */
export class Ranks {
  readonly #communicator: Communicator;
  /** Running mean of the milliseconds that each rank computes in a step. */
  #means: number[] = [];
  #steps = 0;
  #warned = -Infinity;

  constructor(communicator: Communicator) {
    this.#communicator = communicator;
  }

  /**
   * Whether all are to stop, as one of them is asked to, and a warning where one is slow. `milliseconds` is what this rank
   * has computed in the step before.
   */
  async agree(
    stops: boolean,
    milliseconds: number,
  ): Promise<{ stops: boolean; warning?: string | undefined }> {
    if (this.#communicator.size === 1) return { stops };
    const all = await this.#communicator.gather(Float64Array.of(Number(stops), milliseconds));
    const stopping = all.some((value, i) => i % 2 === 0 && value !== 0);
    const times = [...all].filter((_, i) => i % 2 === 1);
    return { stops: stopping, warning: this.#slowest(times) };
  }

  #slowest(times: readonly number[]): string | undefined {
    const before = this.#means;
    this.#means = times.map((time, i) => time * WEIGHT + (before[i] ?? time) * (1 - WEIGHT));
    if (++this.#steps < FIRST_STEPS || performance.now() - this.#warned < WARN_EVERY) {
      return undefined;
    }
    const sorted = this.#means.toSorted((a, b) => a - b);
    const median = sorted[(sorted.length - 1) >> 1]!, slowest = sorted.at(-1)!;
    if (slowest < SLOW * median) return undefined;
    this.#warned = performance.now();
    const rank = this.#means.indexOf(slowest);
    return `rank ${rank} on ${this.#communicator.hosts[rank]} is slow and holds up the others: ` +
      `${slowest.toFixed(0)} ms per step, the median is ${median.toFixed(0)} ms`;
  }
}
