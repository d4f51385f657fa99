/**
 * Waiting before something is tried again.
 *
 * @module
 */

/** How long {@linkcode pause} waits. */
export interface PauseOptions {
  /** Milliseconds after the first failure, doubled with each further one up to a minute. */
  readonly delay: number;
  /** What a server asked for in `Retry-After`, seconds or a date; kept to up to an hour. */
  readonly retryAfter?: string | null;
  /** Breaks it off: its reason is thrown. */
  readonly signal?: AbortSignal;
}

/** Waits after failure number `attempt`, counted from 0, for the longer of what is due and what a server asked. */
export async function pause(
  attempt: number,
  { delay, retryAfter, signal }: PauseOptions,
): Promise<void> {
  const grows = Math.min(60_000, delay * 2 ** attempt);
  const asked = Math.min(3_600_000, Math.max(0, retryAfterMs(retryAfter)));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const stop = () => reject(signal?.reason);
  const timer = setTimeout(resolve, Math.max(grows, asked));
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted) stop();
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

/** Seconds, or a date. */
function retryAfterMs(text: string | null | undefined): number {
  if (!text) return 0;
  const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? ms : 0;
}
