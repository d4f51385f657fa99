/**
 * The inside of a contender's process: it takes orders on standard input, one JSON line each, and answers
 * on standard output. `contender.ts` is the other end.
 */

/** One piece of work, set up and ready to be timed. */
export interface Work {
  /** Does it `repeats` times and waits until the results are there. */
  run(repeats: number): Promise<void>;
  /** Whatever the benchmark wants to know afterwards. */
  report?(): Promise<unknown>;
  /** Frees what the work holds. */
  dispose?(): void;
}

/** Sets up work by name. */
export type Works = Readonly<Record<string, (size: number) => Promise<Work> | Work>>;

/** An order from the benchmark. */
export type Order = { prepare: string; size: number } | { run: number } | { report: true };

/** Answers begin with this, so that what libraries print can be told from them. */
export const ANSWER = "\x01";

/** Says who this is, then takes orders until standard input ends. */
export async function serve(description: string, works: Works): Promise<never> {
  const answer = (value: unknown): void => console.log(ANSWER + JSON.stringify(value));
  answer(description);
  let work: Work | undefined;
  for await (const line of lines(Deno.stdin.readable)) {
    const order: Order = JSON.parse(line);
    if ("prepare" in order) {
      work?.dispose?.();
      work = await works[order.prepare](order.size);
      answer(true);
    } else if ("run" in order) {
      const start = performance.now();
      await work!.run(order.run);
      answer(performance.now() - start);
    } else answer(await work!.report?.() ?? null);
  }
  // Some libraries' threads would keep the process alive.
  Deno.exit(0);
}

/** The lines of a stream of bytes. */
export async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const bytes of stream) {
    const parts = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
  if (rest) yield rest;
}
