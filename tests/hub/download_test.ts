import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { dataset as tinyShakespeare, loadTinyShakespeare } from "../../data/tiny_shakespeare.ts";
import { assertSame } from "../support/compare.ts";
import { endless, withServer as startServer } from "./server.ts";
import { cacheFolder, download, DownloadError } from "../../src/hub/download.ts";

const content = Uint8Array.from({ length: 100_000 }, (_, i) => (i * i) >> 3);
const sha256 = createHash("sha256").update(content).digest("hex");
const right = { bytes: content.length, sha256, retryDelay: 1 };

type Handler = (request: Request, count: number) => Response;

/** Runs `use` with a server, a fresh path, and the ranges that were asked for. */
function withServer(
  handler: Handler,
  use: (url: string, path: string, ranges: (string | null)[]) => Promise<void>,
): Promise<void> {
  const ranges: (string | null)[] = [];
  return startServer((request) => {
    ranges.push(request.headers.get("range"));
    return handler(request, ranges.length);
  }, (endpoint, folder) => use(`${endpoint}/a.txt`, join(folder, "new", "a.txt"), ranges));
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
    assertSame(await Deno.readFile(path), content);
    assert.deepEqual(progress[0], [0, 100_000]);
    assert.deepEqual(progress.at(-1), [100_000, 100_000]);
    await download(url, path, right);
    assert.deepEqual(ranges, [null]);
    await Deno.writeTextFile(path, "changed"); // what is no longer right is fetched anew
    await download(url, path, right);
    assertSame(await Deno.readFile(path), content);
  });
});

Deno.test("download() goes on where it ended when the connection or the process broke", async () => {
  const handler: Handler = (request, count) =>
    count === 1 ? brokenOff(30_000) : count === 2 ? brokenOff(0) : serveRange(request);
  await withServer(handler, async (url, path, ranges) => {
    const first = download(url, path, { ...right, retries: 0 });
    await assert.rejects(first, /expected 100000 bytes but got 30000 before the connection ended$/);
    assert.equal((await Deno.stat(`${path}.part`)).size, 30_000);
    await download(url, path, right);
    assertSame(await Deno.readFile(path), content);
    // The second answer, empty and without a range, made it begin again.
    assert.deepEqual(ranges, [null, "bytes=30000-", null]);
  });
  const breaksOnce: Handler = (request, count) =>
    count === 1 ? brokenOff(30_000) : serveRange(request);
  await withServer(breaksOnce, async (url, path, ranges) => {
    await download(url, path, right);
    assertSame(await Deno.readFile(path), content);
    assert.deepEqual(ranges, [null, "bytes=30000-"]);
  });
});

Deno.test("download() begins again when the server knows no ranges or has another file", async () => {
  const noRanges: Handler = (_, count) => count === 1 ? brokenOff(10) : new Response(content);
  await withServer(noRanges, async (url, path) => {
    await download(url, path, right);
    assertSame(await Deno.readFile(path), content);
  });
  await withServer((request) => serveRange(request), async (url, path, ranges) => {
    await Deno.mkdir(join(path, ".."));
    await Deno.writeFile(`${path}.part`, new Uint8Array(200_000));
    await download(url, path, right);
    assertSame(await Deno.readFile(path), content);
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
    assertSame(await Deno.readFile(path), content);
  });
  await withServer(busy, async (url, path, ranges) => {
    await assert.rejects(download(url, path, { ...right, retries: 2 }), (error: Error) => {
      assert(error instanceof DownloadError);
      assert.equal(
        error.message,
        `${url}: expected the file but the server answered 503 Service Unavailable (tried 3 times)`,
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
    assertSame(await Deno.readFile(path), content);
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
      /expected 100000 bytes but got more/,
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
      /expected 1115394 bytes but got 100000 before/,
    );
    await Deno.writeFile(path, content);
    await assert.rejects(
      loadTinyShakespeare({ path }),
      /expected 1115394 bytes of tiny Shakespeare/,
    );
    await Deno.writeFile(path, new Uint8Array(tinyShakespeare.bytes));
    await assert.rejects(loadTinyShakespeare({ path }), /with SHA-256 86c4e6aa/);
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

/** Serves versions of a file: each answer with its ETag, ranges unless `If-Range` names another version. */
function versioned(etag: string, body: Uint8Array<ArrayBuffer>, request: Request): Response {
  const ifRange = request.headers.get("if-range");
  const range = request.headers.get("range");
  const whole = range === null || (ifRange !== null && ifRange !== etag);
  const response = whole ? new Response(body) : serveRange(request, body);
  response.headers.set("etag", etag);
  return response;
}

Deno.test("download() without a hash never puts two versions together", async () => {
  const other = content.map((byte) => byte ^ 0xff);
  const plain = { retryDelay: 1 };
  const [body, broken] = [content, content.subarray(0, 30_000)];
  // A server that has the same version, another one, another one but ignores If-Range, or names no version.
  const cases: [Handler, Uint8Array, (string | null)[]][] = [
    [(r, n) => versioned('"1"', n === 1 ? broken : body, r), body, [null, "bytes=30000-"]],
    [(r, n) => versioned(`"${n}"`, n === 1 ? broken : other, r), other, [null, "bytes=30000-"]],
    [
      (request, n) => {
        const response = n === 1 ? new Response(broken) : serveRange(request, other);
        response.headers.set("etag", n === 1 ? '"1"' : '"2"');
        return response;
      },
      other,
      [null, "bytes=30000-", null],
    ],
    [(r, n) => n === 1 ? new Response(broken) : serveRange(r, other), other, [null, null]],
    [(r, n) => versioned('W/"1"', n === 1 ? broken : other, r), other, [null, null]],
  ];
  for (const [handler, expected, asked] of cases) {
    await withServer(handler, async (url, path, ranges) => {
      // The length makes the first attempt fail; a later call, as one of a later process, goes on.
      const bytes = content.length;
      await assert.rejects(
        download(url, path, { ...plain, bytes, retries: 0 }),
        /but got 30000 before/,
      );
      await download(url, path, plain);
      assert.deepEqual(await Deno.readFile(path), expected);
      assert.deepEqual(ranges, asked);
      assert.deepEqual([...Deno.readDirSync(join(path, ".."))].map(({ name }) => name), ["a.txt"]);
    });
  }
});

Deno.test("download() takes no part of a file for all of it when the server answers 416", async () => {
  const shorter = content.subarray(0, 20_000);
  const handler: Handler = (request, n) =>
    n === 1 ? versioned('"1"', content.subarray(0, 30_000), request) : serveRange(request, shorter);
  await withServer(handler, async (url, path, ranges) => {
    const first = download(url, path, { retries: 0, bytes: content.length });
    await assert.rejects(first, /expected 100000 bytes but got 30000 before/);
    await download(url, path, { retryDelay: 1 });
    assert.deepEqual(await Deno.readFile(path), shorter);
    assert.deepEqual(ranges, [null, "bytes=30000-", null]);
  });
  const never: Handler = () => new Response("", { status: 416 });
  await withServer(never, async (url, path, ranges) => {
    await Deno.mkdir(join(path, ".."));
    await Deno.writeFile(`${path}.part`, content.subarray(0, 10));
    await assert.rejects(download(url, path, right), (error: Error) => {
      assert(error instanceof DownloadError, String(error));
      assert.match(error.message, /the server answered 416 Range Not Satisfiable$/);
      return true;
    });
    assert.deepEqual(ranges, ["bytes=10-", null]);
  });
});

Deno.test("download() gives up a body that trickles", async () => {
  await withServer(() => endless("x", 20), async (url, path, ranges) => {
    const options = { retryDelay: 1, retries: 2, stallTimeout: 200 };
    await assert.rejects(
      download(url, path, options),
      /expected 1024 bytes per second or more but got \d+ in 200 ms \(tried 3 times\)$/,
    );
    assert.equal(ranges.length, 3);
  });
});

Deno.test("download() does the same file once when several ask for it", async () => {
  const slow: Handler = (request) => {
    return new Response(
      new ReadableStream({
        async start(body) {
          await new Promise((done) => setTimeout(done, 50));
          for await (const piece of serveRange(request).body!) body.enqueue(piece);
          body.close();
        },
      }),
    );
  };
  await withServer(slow, async (url, path, ranges) => {
    const results = await Promise.all(
      [right, { bytes: content.length }, {}, right].map((options) => download(url, path, options)),
    );
    assert.deepEqual(results, Array(4).fill(path));
    assert.deepEqual(await Deno.readFile(path), content);
    assert.deepEqual(ranges, [null]);
    // One that is aborted leaves at once, and does not disturb the others.
    await Deno.remove(path);
    const reason = new Error("enough");
    const one = download(url, path, right);
    const signal = AbortSignal.abort(reason);
    await assert.rejects(download(url, path, { ...right, signal }), reason);
    await one;
    assert.deepEqual(ranges, [null, null]);
  });
});

Deno.test("download() waits for another process that downloads the file, and says so", async () => {
  const { promise: bothStarted, resolve: release } = Promise.withResolvers<void>();
  const handler: Handler = (request) =>
    new Response(
      new ReadableStream({
        async start(body) {
          await bothStarted;
          for await (const piece of serveRange(request).body!) body.enqueue(piece);
          body.close();
        },
      }),
    );
  await withServer(handler, async (url, path, ranges) => {
    const program = `import { download } from ${
      JSON.stringify(import.meta.resolve("../../src/hub/download.ts"))
    };
      await download(Deno.args[0], Deno.args[1], ${JSON.stringify(right)});`;
    const file = await Deno.makeTempFile({ suffix: ".ts" });
    await Deno.writeTextFile(file, program);
    const processes = [1, 2].map(() =>
      new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", file, url, path],
        stderr: "piped",
      }).spawn()
    );
    const said = await Promise.race(processes.map(async (child) => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
        if (text.includes("waiting for")) return text;
      }
      return await new Promise<never>(() => {});
    }));
    release();
    const codes = await Promise.all(processes.map(async (child) => (await child.status).code));
    await Deno.remove(file);
    assert.equal(said, `${path}: waiting for another process that downloads it\n`);
    assert.deepEqual(codes, [0, 0]);
    assert.deepEqual(await Deno.readFile(path), content);
    assert.deepEqual(ranges, [null]);
    assert.deepEqual([...Deno.readDirSync(join(path, ".."))].map(({ name }) => name), ["a.txt"]);
  });
});
