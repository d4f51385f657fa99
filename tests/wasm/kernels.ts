/** Runs one kernel on 1 and on 3 threads, with different chunks, and holds the results against each other. */
import assert from "node:assert/strict";
import { ThreadPool } from "../../src/device/cpu/threads.ts";
import { Arena, worst } from "./helpers.ts";
import { assertSame } from "../support/compare.ts";

/** What a test does with one pool: places its inputs, runs, and names the outputs it wants to see. */
export type Program = (
  arena: Arena,
  run: (name: string, count: number, ...values: number[]) => void,
) => { [output: string]: { at: number; length: number; expected: ArrayLike<number> } };

const one = ThreadPool.start({ threads: 1 });
const three = ThreadPool.start({ threads: 3 });

/** Runs `program` on both pools and checks every output: equal bits, and within `tolerance` of what is expected. */
export function check(label: string, tolerance: number, program: Program): void {
  three.waitForWorkers();
  const results = [[one, 1 << 29], [three, 4], [three, 20]] as const;
  let first: Map<string, Uint32Array> | undefined;
  for (const [pool, chunk] of results) {
    const arena = new Arena(pool);
    const outputs = program(arena, (name, count, ...values) => {
      pool.run(name, count, chunk, ...values);
    });
    const bits = new Map<string, Uint32Array>();
    for (const [name, { at, length, expected }] of Object.entries(outputs)) {
      const values = arena.floats(at, length).slice();
      const error = worst(values, expected);
      assert(error <= tolerance, `${label}: ${name} is off by ${error}`);
      bits.set(name, new Uint32Array(values.buffer));
    }
    if (first === undefined) first = bits;
    else assertSame(bits, first, `${label}: results depend on threads or chunks`);
  }
}
