import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { prepareFineWebEdu } from "../../data/fineweb_edu.ts";
import { DownloadError } from "../../src/hub/download.ts";
import { downloadHubFile, listHubFiles } from "../../src/hub/hub.ts";
import { findShards } from "../../src/data/shards.ts";
import { readNpy } from "../../src/io/npy.ts";
import { assertSame } from "../support/compare.ts";
import { inFolder } from "../support/examples.ts";
import { madeUpDocuments, parquetOf, straight } from "./prepare_files.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const DATASET = "HuggingFaceFW/fineweb-edu";
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** What a hub answers before it does its work; undefined: it does it. */
type Mood = (request: Request, url: URL, count: number) => Response | undefined;

/** A hub with some files, as far as the library knows one, and a log of what it was asked. */
async function withHub(
  files: Record<string, Uint8Array<ArrayBuffer>>,
  mood: Mood,
  use: (hub: { endpoint: string; retryDelay: number }, log: string[]) => Promise<void>,
): Promise<void> {
  const log: string[] = [];
  const paths = Object.keys(files);
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
    const url = new URL(request.url);
    log.push(
      `${request.method} ${url.pathname}${url.search} ${request.headers.get("range") ?? ""}`.trim(),
    );
    const unusual = mood(request, url, log.length);
    if (unusual) return unusual;
    const api = `/api/datasets/${DATASET}`;
    if (url.pathname === `${api}/revision/main` || url.pathname === `${api}/revision/${COMMIT}`) {
      return Response.json({ id: DATASET, sha: COMMIT });
    }
    if (url.pathname === `${api}/tree/${COMMIT}/sample/10BT`) {
      // One file a page, the last first.
      const page = Number(url.searchParams.get("cursor") ?? 0);
      const path = paths[paths.length - 1 - page];
      const bytes = files[path];
      const entries = [
        { type: "directory", path: "sample/10BT/more", size: 0 },
        {
          type: "file",
          path,
          size: bytes.length,
          oid: "1234",
          lfs: { oid: sha256(bytes), size: bytes.length },
        },
      ];
      const next = `<http://${url.host}${url.pathname}?cursor=${page + 1}>; rel="next"`;
      return Response.json(entries, { headers: page + 1 < paths.length ? { link: next } : {} });
    }
    const file = files[url.pathname.replace(/^\/(datasets\/.*\/resolve\/[0-9a-f]+|content)\//, "")];
    if (file && url.pathname.startsWith(`/datasets/${DATASET}/resolve/${COMMIT}/`)) {
      return new Response(null, {
        status: 302,
        headers: {
          location: url.pathname.replace(/^.*\/resolve\/[0-9a-f]+/, "/content") + "?signature=1",
          "x-linked-etag": `"${sha256(file)}"`,
          "x-linked-size": String(file.length),
        },
      });
    }
    if (file && url.pathname.startsWith("/content/")) {
      const start = Number(/^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1] ?? 0);
      return new Response(file.subarray(start), {
        status: start > 0 ? 206 : 200,
        headers: start > 0
          ? { "content-range": `bytes ${start}-${file.length - 1}/${file.length}` }
          : {},
      });
    }
    return new Response("", { status: 404 });
  });
  try {
    await use({ endpoint: `http://127.0.0.1:${server.addr.port}`, retryDelay: 1 }, log);
  } finally {
    await server.shutdown();
  }
}

const parts = [1, 2, 3].map((seed) => madeUpDocuments(250, seed));
const codecs = ["SNAPPY", "ZSTD", "SNAPPY"] as const;
const corpus = Object.fromEntries(parts.map((part, i) => [
  `sample/10BT/00${i}_00000.parquet`,
  parquetOf(part, { codec: codecs[i], rowGroupSize: 60 }),
]));
const small = { tokensPerShard: 10_000, chunkBytes: 8000, saveEvery: 0, workers: 2 };

async function tokensOf(folder: string): Promise<number[]> {
  const paths = [
    ...await findShards(folder, { split: "val" }),
    ...await findShards(folder, { split: "train" }),
  ];
  const shards = await Promise.all(paths.map((path) => readNpy(path)));
  return shards.flatMap(({ data }) => [...data as Uint16Array]);
}

Deno.test("prepareFineWebEdu() gives what one thread gives when the hub is in every bad mood", async () => {
  const bytes = Object.values(corpus)[1];
  let busy = 0;
  const moods: Mood = (request, url, count) => {
    const range = request.headers.get("range");
    if (count === 1) return new Response("", { status: 503 });
    if (count === 3 || count === 8) {
      return new Response("", {
        status: 429,
        headers: { "retry-after": count === 3 ? "0" : new Date().toUTCString() },
      });
    }
    if (
      url.pathname.endsWith("000_00000.parquet") && url.pathname.startsWith("/content") &&
      range === null
    ) {
      return new Response(Object.values(corpus)[0].subarray(0, 4000)); // breaks off
    }
    if (url.pathname.endsWith("001_00000.parquet") && url.pathname.startsWith("/content")) {
      if (range === null) return new Response(bytes.subarray(0, 3000));
      if (range === "bytes=3000-") return new Response(bytes.subarray(0, 5000)); // from the beginning, and breaks off
      if (range === "bytes=5000-") return new Response(bytes); // all of it once more
    }
    if (url.pathname === "/content/sample/10BT/002_00000.parquet" && ++busy < 4) {
      return new Response("busy", { status: 503 });
    }
  };
  await withHub(corpus, moods, async (hub, log) => {
    await inFolder(async (folder) => {
      const downloads = new Set<string>();
      const result = await prepareFineWebEdu(folder, {
        ...small,
        hub,
        onDownload: (file) => downloads.add(file),
      });
      assert.equal(result.complete, true);
      const expected = straight(parts.flat());
      assert.equal(result.tokens, expected.length);
      assertSame(await tokensOf(folder), expected);
      assert.match(result.paths[0], /edufineweb_val_000000\.npy$/);
      assert.match(result.paths[1], /edufineweb_train_000001\.npy$/);
      assert.deepEqual([...downloads].sort(), Object.keys(corpus));
      assert.deepEqual([...Deno.readDirSync(join(folder, "downloads"))], []);
      assert(log.some((line) => line.endsWith("bytes=4000-")), log.join("\n"));
      // Once more: nothing is downloaded, and the commit is asked for by its name.
      log.length = 0;
      assert.deepEqual(await prepareFineWebEdu(folder, { ...small, hub }), result);
      assert.equal(log[0], `GET /api/datasets/${DATASET}/revision/${COMMIT}`);
      assert(!log.some((line) => line.includes("/resolve/")), log.join("\n"));
    });
  });
});

Deno.test("prepareFineWebEdu() goes on after the network was gone", async () => {
  let gone = true;
  const mood: Mood = (_, url) =>
    gone && url.pathname.includes("001_") ? new Response("", { status: 503 }) : undefined;
  await withHub(corpus, mood, async (hub) => {
    await inFolder(async (folder) => {
      const options = { ...small, hub: { ...hub, retries: 2 }, keepDownloads: true };
      await assert.rejects(prepareFineWebEdu(folder, options), (error: Error) => {
        assert(error instanceof DownloadError, String(error));
        assert.match(
          error.message,
          /001_00000\.parquet: expected the file but the server answered 503 Service Unavailable \(tried 3 times\)$/,
        );
        return true;
      });
      gone = false;
      await prepareFineWebEdu(folder, options);
      assertSame(await tokensOf(folder), straight(parts.flat()));
      assert.equal([...Deno.readDirSync(join(folder, "downloads"))].length, 3);
    });
  });
});

Deno.test("listHubFiles() waits as long as the hub asks for, and takes HF_TOKEN along", async () => {
  const tokens = new Set<string | null>();
  let refusedAt = 0;
  const mood: Mood = (request, _, count) => {
    tokens.add(request.headers.get("authorization"));
    if (count !== 1) return undefined;
    refusedAt = performance.now();
    return new Response("", { status: 429, headers: { "retry-after": "1" } });
  };
  await withHub(corpus, mood, async (hub) => {
    const options = { ...hub, folder: "sample/10BT", token: "hf_made_up" };
    const files = await listHubFiles(DATASET, options);
    assert(performance.now() - refusedAt >= 990);
    assert.deepEqual(files.map(({ path }) => path), Object.keys(corpus));
    assert.deepEqual(files.map(({ sha256 }) => sha256), Object.values(corpus).map(sha256));
    assert.equal(files[0].revision, COMMIT);
    assert.deepEqual([...tokens], ["Bearer hf_made_up"]);
  });
});

Deno.test("downloadHubFile() throws when the hub has another file or gives no access", async () => {
  const [path] = Object.keys(corpus);
  const bytes = corpus[path];
  const file = {
    repository: `datasets/${DATASET}`,
    revision: COMMIT,
    path,
    bytes: bytes.length,
    sha256: sha256(bytes),
  };
  await inFolder(async (folder) => {
    const target = join(folder, "a.parquet");
    const none: Mood = () => undefined;
    await withHub(corpus, none, async (hub, log) => {
      const rejects = (change: object, message: RegExp) =>
        assert.rejects(downloadHubFile({ ...file, ...change }, target, hub), message);
      await rejects({ bytes: 7 }, /expected 7 bytes but got \d+; the hub has another version now$/);
      await rejects(
        { sha256: "0".repeat(64) },
        /expected the ETag 0+ but got [0-9a-f]{64}; the hub has another version now$/,
      );
      await rejects(
        { path: "sample/10BT/none.parquet" },
        /the server answered 404 Not Found: check the name and the revision$/,
      );
      assert(!log.some((line) => line.includes("/content/")));
    });
    const wrong = bytes.with(100, bytes[100] ^ 1);
    const content: Mood = (_, url) =>
      url.pathname.startsWith("/content/") ? new Response(wrong) : undefined;
    await withHub(corpus, content, async (hub, log) => {
      await assert.rejects(
        downloadHubFile(file, target, hub),
        /expected SHA-256 [0-9a-f]+ but got/,
      );
      assert.equal(log.filter((line) => line.includes("/content/")).length, 2);
      await assert.rejects(Deno.stat(target), Deno.errors.NotFound);
    });
    const closed: Mood = () => new Response("", { status: 401 });
    await withHub(corpus, closed, async (hub) => {
      await assert.rejects(
        downloadHubFile(file, target, { ...hub, token: "" }),
        /answered 401 Unauthorized: check the name, or set HF_TOKEN to an access token \(with --allow-env=HF_TOKEN\)$/,
      );
      await assert.rejects(
        downloadHubFile(file, target, { ...hub, token: "hf_made_up" }),
        /the access token \(HF_TOKEN\) gives no access to it; /,
      );
    });
  });
});
