/** Lets signals, timers and other tasks run while the CPU device computes, which by itself waits for nothing. */

/** A loop may ask more often than it helps. */
const INTERVAL_MS = 20;
let last = 0;

/** Gives the thread away for one turn of the event loop, unless it had one in the last 20 ms. */
export async function yieldToEventLoop(): Promise<void> {
  if (performance.now() - last < INTERVAL_MS) return;
  // A timer would sleep for a millisecond or more.
  const { port1, port2 } = new MessageChannel();
  await new Promise((resolve) => {
    port1.onmessage = resolve;
    port2.postMessage(null);
  });
  port1.close();
  port2.close();
  last = performance.now();
}
