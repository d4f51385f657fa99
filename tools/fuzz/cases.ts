/**
 * One case after the other, each with its verdict.
 *
 * @module
 */
import { allocations, forgetAllocations } from "./allocation_watch.ts";
import { faultOf, type Format, type Mutant } from "./format.ts";
import { Chance } from "./random.ts";

/** Milliseconds that a case may take. */
const MAX_MILLISECONDS = 2000;

/** How a case ended. */
export interface Verdict {
  /** Whether the reader took the file. */
  readonly accepted: boolean;
  /** What must not be. */
  readonly finding?: string;
  /** The error that the reader threw. */
  readonly error?: unknown;
}

/** Reads a spoiled file and says how that went. */
export async function verdictOf(format: Format, mutant: Mutant): Promise<Verdict> {
  forgetAllocations();
  const begin = performance.now();
  let error: unknown;
  let accepted = false;
  try {
    await mutant.read();
    accepted = true;
  } catch (thrown) {
    error = thrown;
  }
  const milliseconds = performance.now() - begin;
  const { largest, total } = allocations();
  const maxBytes = 4 * mutant.bytes + (1 << 20) + (format.allowance ?? 0);
  const finding = polluted() ??
    (milliseconds > (format.milliseconds ?? MAX_MILLISECONDS)
      ? `took ${Math.round(milliseconds)} ms`
      : undefined) ??
    (largest > maxBytes ? `allocated ${largest} bytes for a file of ${mutant.bytes}` : undefined) ??
    (total > 64 * maxBytes
      ? `allocated ${total} bytes in all, the file has ${mutant.bytes}`
      : undefined) ??
    (accepted ? undefined : faultOf(error, format, mutant.file));
  return { accepted, finding, error };
}

/** The chances of a case: those of its seed, its format and its number. */
export function chanceOf(seed: string, format: Format, number: number): Chance {
  return new Chance(`${seed} ${format.name} ${number}`);
}

/** What a file left on the objects that all others inherit from. */
function polluted(): string | undefined {
  for (const object of [Object.prototype, Array.prototype, Function.prototype]) {
    for (const key of Object.keys(object)) {
      delete (object as unknown as Record<string, unknown>)[key];
      return `left "${key}" on a prototype`;
    }
  }
}
