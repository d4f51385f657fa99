/**
 * Files of the hub for those who hold a token. The hub sends small files itself, and for large ones leads to a store
 * whose addresses need no token and must not be shown one.
 *
 * @module
 */
import { DownloadError } from "../data/download.ts";

/** The hub keeps files beyond 10 MB in the store; a tokenizer may be just below. */
const MOST_BYTES = 64 * 2 ** 20;
const MOST_REDIRECTS = 5;

/**
 * Asks for a file with a token: gives its bytes, or the address at another server where it is.
 *
 * @throws {DownloadError} where the hub refuses, cannot be reached, or sends more or fewer bytes than expected
 */
export async function fetchAsHolder(
  url: string,
  token: string,
  { bytes, signal }: { bytes?: number; signal?: AbortSignal },
): Promise<string | Uint8Array> {
  const headers = { authorization: `Bearer ${token}` };
  let at = url;
  for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
    const response = await ask(at, { headers, redirect: "manual", signal });
    const location = response.headers.get("location");
    if (response.status >= 300 && response.status < 400 && location) {
      await response.body?.cancel();
      const next = new URL(location, at);
      if (next.origin !== new URL(url).origin) return next.href;
      at = next.href;
    } else if (response.ok) {
      return await readBody(response, bytes);
    } else {
      await response.body?.cancel();
      throw new DownloadError(at, `the server answered ${response.status} ${response.statusText}`);
    }
  }
  throw new DownloadError(url, `sent us on more than ${MOST_REDIRECTS} times`);
}

async function ask(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch (cause) {
    if (init.signal?.aborted || cause instanceof Deno.errors.NotCapable) throw cause;
    throw new DownloadError(url, (cause as Error).message, { cause });
  }
}

async function readBody(response: Response, expected: number | undefined): Promise<Uint8Array> {
  const most = Math.min(expected ?? MOST_BYTES, MOST_BYTES);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.byteLength;
    if (length > most) throw new DownloadError(response.url, `sent more than ${most} bytes`);
    chunks.push(chunk);
  }
  if (expected !== undefined && length !== expected) {
    throw new DownloadError(response.url, `expected ${expected} bytes but ${length} came`);
  }
  return new Uint8Array(await new Blob(chunks as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}
