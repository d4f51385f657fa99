/**
 * Yielding to the event loop: lets requests, signals, timers and other tasks run while the CPU device computes, which
 * never waits by itself.
 */

/** The minimum time between yields: a loop may ask more often than it helps. */
const INTERVAL_MS = 50;
/** The time after which a timer of 0 ms is taken to have been due before the event loop came to it. */
const OVERDUE_MS = 10;
let last = 0;

/**
 * Yields the thread until signals, sockets and timers that are due have been handled. Does nothing if it did so within
 * the last 50 ms (or `interval`).
 */
export async function yieldToEventLoop(interval?: number): Promise<void> {
  if (performance.now() - last < (interval ?? INTERVAL_MS)) return;
  // A timer sleeps for a millisecond, during which Deno polls signals and sockets. Without a sleep, as with a message
  // to itself, it polls only once in many turns, and no piece of a streamed reply would leave before the last one is
  // computed.
  const start = performance.now();
  await timer();
  // The caller computed before it waited: a timer that is already due does not sleep.
  if (performance.now() - start > OVERDUE_MS) await timer();
  last = performance.now();
}

function timer(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
