/**
 * A server on this machine for one test.
 *
 * @module
 */

/** Runs `use` with a server and an empty folder; both are gone afterwards. */
export async function withServer(
  handler: (request: Request) => Response | Promise<Response>,
  use: (endpoint: string, folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  const stop = new AbortController();
  const server = Deno.serve({
    port: 0,
    hostname: "127.0.0.1",
    onListen: () => {},
    signal: stop.signal, // bodies without end would keep a shutdown waiting
  }, handler);
  try {
    await use(`http://127.0.0.1:${server.addr.port}`, folder);
  } finally {
    stop.abort();
    await server.finished;
    await Deno.remove(folder, { recursive: true });
  }
}

/** A body without end: `piece` again and again, every `milliseconds`. */
export function endless(piece: string, milliseconds: number = 0): Response {
  const bytes = new TextEncoder().encode(piece);
  return new Response(
    new ReadableStream({
      async pull(body) {
        if (milliseconds > 0) await new Promise((done) => setTimeout(done, milliseconds));
        body.enqueue(bytes);
      },
    }),
  );
}
