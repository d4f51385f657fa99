/** Lets requests, signals, timers and other tasks run while the CPU device computes, which by itself waits for nothing. */

/** A loop may ask more often than it helps. */
const INTERVAL_MS = 50;
let last = 0;

/**
 * Gives the thread away, unless it was in the last 50 ms (or `interval`), until signals, sockets and timers that are due were
 * seen to.
 */
export async function yieldToEventLoop(interval?: number): Promise<void> {
  if (performance.now() - last < (interval ?? INTERVAL_MS)) return;
  // A timer sleeps for a millisecond, in which Deno looks at its sockets. Without sleep, as after a message to itself, it
  // does so once in many turns: no piece of a streamed reply would leave before the last is drawn.
  await new Promise((resolve) => setTimeout(resolve, 0));
  last = performance.now();
}
