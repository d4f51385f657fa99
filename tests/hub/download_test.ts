import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { dataset as tinyShakespeare, loadTinyShakespeare } from "../../data/tiny_shakespeare.ts";
import { cacheFolder, download, DownloadError } from "../../src/hub/download.ts";

const content = Uint8Array.from({ length: 100_000 }, (_, i) => (i * i) >> 3);
const sha256 = createHash("sha256").update(content).digest("hex");
const right = { bytes: content.length, sha256, retryDelay: 1 };

type Handler = (request: Request, count: number) => Response;

/** Runs `use` with a server on this machine, a fresh folder, and the ranges that were asked for. */
async function withServer(
  handler: Handler,
  use: (url: string, path: string, ranges: (string | null)[]) => Promise<void>,
): Promise<void> {
  const ranges: (string | null)[] = [];
  const folder = await Deno.makeTempDir();
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
    ranges.push(request.headers.get("range"));
    return handler(request, ranges.length);
  });
  try {
    const url = `http://127.0.0.1:${server.addr.port}/a.txt`;
    await use(url, join(folder, "new", "a.txt"), ranges);
  } finally {
    await server.shutdown();
    await Deno.remove(folder, { recursive: true });
  }
}

/** Serves `content` as a server that knows ranges does. */
function serveRange(request: Request, body: Uint8Array<ArrayBuffer> = content): Response {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1] ?? 0);
  if (start >= body.length) return new Response(null, { status: 416 });
  return new Response(body.subarray(start), {
    status: start > 0 ? 206 : 200,
    headers: start > 0
      ? { "content-range": `bytes ${start}-${body.length - 1}/${body.length}` }
      : {},
  });
}

/** A response that breaks off after `length` bytes, without saying how many there are. */
const brokenOff = (length: number) => new Response(content.subarray(0, length));

Deno.test("download() fetches once and reports progress when all is well", async () => {
  await withServer((request) => serveRange(request), async (url, path, ranges) => {
    const progress: [number, number | undefined][] = [];
    const options = {
      ...right,
      onProgress: (...p: [number, number?]) => progress.push([p[0], p[1]]),
    };
    assert.equal(await download(url, path, options), path);
    assert.deepEqual(await Deno.readFile(path), content);
    assert.deepEqual(progress[0], [0, 100_000]);
    assert.deepEqual(progress.at(-1), [100_000, 100_000]);
    await download(url, path, right);
    assert.deepEqual(ranges, [null]);
    await Deno.writeTextFile(path, "changed"); // what is no longer right is fetched anew
    await download(url, path, right);
    assert.deepEqual(await Deno.readFile(path), content);
  });
});

Deno.test("download() goes on where it ended when the connection or the process broke", async () => {
  const handler: Handler = (request, count) =>
    count === 1 ? brokenOff(30_000) : count === 2 ? brokenOff(0) : serveRange(request);
  await withServer(handler, async (url, path, ranges) => {
    const first = download(url, path, { ...right, retries: 0 });
    await assert.rejects(first, /the connection ended after 30000 of 100000 bytes$/);
    assert.equal((await Deno.stat(`${path}.part`)).size, 30_000);
    await download(url, path, right);
    assert.deepEqual(await Deno.readFile(path), content);
    // The second answer, empty and without a range, made it begin again.
    assert.deepEqual(ranges, [null, "bytes=30000-", null]);
  });
  const breaksOnce: Handler = (request, count) =>
    count === 1 ? brokenOff(30_000) : serveRange(request);
  await withServer(breaksOnce, async (url, path, ranges) => {
    await download(url, path, right);
    assert.deepEqual(await Deno.readFile(path), content);
    assert.deepEqual(ranges, [null, "bytes=30000-"]);
  });
});

Deno.test("download() begins again when the server knows no ranges or has another file", async () => {
  const noRanges: Handler = (_, count) => count === 1 ? brokenOff(10) : new Response(content);
  await withServer(noRanges, async (url, path) => {
    await download(url, path, right);
    assert.deepEqual(await Deno.readFile(path), content);
  });
  await withServer((request) => serveRange(request), async (url, path, ranges) => {
    await Deno.mkdir(join(path, ".."));
    await Deno.writeFile(`${path}.part`, new Uint8Array(200_000));
    await download(url, path, right);
    assert.deepEqual(await Deno.readFile(path), content);
    assert.deepEqual(ranges, [null]);
  });
});

Deno.test("download() shows its token to the server asked, and to no other", async () => {
  const tokens: (string | null)[] = [];
  const noteToken = (request: Request) => tokens.push(request.headers.get("authorization"));
  await withServer((request) => (noteToken(request), serveRange(request)), async (other, path) => {
    await withServer((request) => (noteToken(request), Response.redirect(other)), async (url) => {
      await download(url, path, { ...right, token: "secret" });
    });
  });
  assert.deepEqual(tokens, ["Bearer secret", null]);
});

Deno.test("download() tries again when the server is busy, and gives up in the end", async () => {
  const busy = () => new Response("busy", { status: 503 });
  await withServer((request, n) => n < 3 ? busy() : serveRange(request), async (url, path) => {
    await download(url, path, right);
    assert.deepEqual(await Deno.readFile(path), content);
  });
  await withServer(busy, async (url, path, ranges) => {
    await assert.rejects(download(url, path, { ...right, retries: 2 }), (error: Error) => {
      assert(error instanceof DownloadError);
      assert.equal(
        error.message,
        `${url}: the server answered 503 Service Unavailable (tried 3 times)`,
      );
      return true;
    });
    assert.equal(ranges.length, 3);
  });
});

Deno.test("download() tries again when nothing comes any more", async () => {
  const stalls = () =>
    new Response(
      new ReadableStream({ start: (body) => body.enqueue(content.subarray(0, 40_000)) }),
    );
  const handler: Handler = (request, count) => count === 1 ? stalls() : serveRange(request);
  await withServer(handler, async (url, path, ranges) => {
    await download(url, path, { ...right, stallTimeout: 100 });
    assert.deepEqual(await Deno.readFile(path), content);
    assert.deepEqual(ranges, [null, "bytes=40000-"]);
  });
});

Deno.test("download() gives up at once when the file is not there", async () => {
  await withServer(() => new Response("", { status: 404 }), async (url, path, ranges) => {
    await assert.rejects(download(url, path, right), /the server answered 404 Not Found$/);
    assert.equal(ranges.length, 1);
  });
});

Deno.test("download() refuses the file when its length or hash is wrong", async () => {
  const wrong = content.with(77, content[77] ^ 1);
  await withServer((request) => serveRange(request, wrong), async (url, path) => {
    await assert.rejects(download(url, path, right), /expected SHA-256 [0-9a-f]+ but got/);
    assert.deepEqual([...Deno.readDirSync(join(path, ".."))], []);
  });
  const longer = new Uint8Array([...content, 1]);
  await withServer((request) => serveRange(request, longer), async (url, path) => {
    await assert.rejects(
      download(url, path, right),
      /expected 100000 bytes but the server sent more/,
    );
  });
});

Deno.test("download() stops when it is told to", async () => {
  await withServer(() => new Response("", { status: 503 }), async (url, path) => {
    const signal = AbortSignal.timeout(20);
    const start = download(url, path, { ...right, retryDelay: 60_000, signal });
    await assert.rejects(start, { name: "TimeoutError" });
  });
});

Deno.test("loadTinyShakespeare() throws when the text is another one", async () => {
  await withServer((request) => serveRange(request), async (url, path) => {
    const cache = join(path, "..");
    await assert.rejects(
      loadTinyShakespeare({ url, cache, retries: 0 }),
      /the connection ended after 100000 of 1115394 bytes/,
    );
    await Deno.writeFile(path, content);
    await assert.rejects(
      loadTinyShakespeare({ path }),
      /is not tiny Shakespeare: expected 1115394/,
    );
    await Deno.writeFile(path, new Uint8Array(tinyShakespeare.bytes));
    await assert.rejects(loadTinyShakespeare({ path }), /expected SHA-256 86c4e6aa/);
  });
});

Deno.test("cacheFolder() is what DINOGRAD_CACHE says when it is set", () => {
  const before = Deno.env.get("DINOGRAD_CACHE");
  try {
    Deno.env.set("DINOGRAD_CACHE", "/somewhere/else");
    assert.equal(cacheFolder(), "/somewhere/else");
    Deno.env.delete("DINOGRAD_CACHE");
    if (Deno.env.get("HOME")) assert.match(cacheFolder(), /dinograd$/);
  } finally {
    if (before !== undefined) Deno.env.set("DINOGRAD_CACHE", before);
  }
});
