// What is kept of the hub's answers: after refusals, new commits, other revisions; and which files are chosen.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { download } from "../../src/hub/download.ts";
import { DownloadError, withRetries } from "../../src/hub/http.ts";
import { TransientError } from "../../src/hub/http.ts";
import { downloadHubFile, hubToken, hubUrl, listHubFiles } from "../../src/hub/hub.ts";
import { downloadModel } from "../../src/pretrained/download_model.ts";
import { withServer } from "./server.ts";

const [FIRST, SECOND] = ["1", "2"].map((digit) => digit.repeat(40));
const quick = { retries: 0, retryDelay: 1, token: "" };
const text = (value: string) => new TextEncoder().encode(value);

/** A model `a/b` on the hub: its commits by revision, and the files that all of them have. */
class Hub {
  readonly asked: string[] = [];
  revisions: Record<string, string> = { main: FIRST };
  files: Record<string, string> = { "config.json": "{}", "model.safetensors": "weights" };
  /** Answers in place of the hub; undefined where it answers itself. */
  answer: (path: string) => Response | undefined = () => undefined;

  readonly serve = ({ url }: Request): Response => {
    const path = new URL(url).pathname;
    this.asked.push(path);
    const other = this.answer(path);
    if (other) return other;
    const revision = decodeURIComponent(
      /^\/api\/models\/a\/b\/revision\/(.*)$/.exec(path)?.[1] ?? "",
    );
    if (revision) {
      const sha = this.revisions[revision];
      if (!sha) return new Response("", { status: 404 });
      const siblings = Object.entries(this.files).map(([rfilename, content]) => ({
        ...{ rfilename, size: text(content).length },
        blobId: createHash("sha1").update(`blob ${text(content).length}\0${content}`).digest("hex"),
      }));
      return Response.json({ sha, siblings });
    }
    const file = this.files[path.replace(/^\/a\/b\/resolve\/[0-9a-f]{40}\//, "")];
    return file === undefined ? new Response("", { status: 404 }) : new Response(file);
  };

  /** The files asked for since the last call, and how often the hub was asked for a list. */
  fetched(): string[] {
    return this.asked.splice(0).filter((path) => !path.startsWith("/api/"))
      .map((path) => path.split("/").slice(5).join("/"));
  }
}

function withHub(
  body: (
    hub: Hub,
    load: (more?: Parameters<typeof downloadModel>[1]) => Promise<string>,
    cacheFolder: string,
  ) => Promise<void>,
): Promise<void> {
  const hub = new Hub();
  return withServer(hub.serve, (endpoint, cacheFolder) =>
    body(
      hub,
      (more) =>
        downloadModel("a/b", { ...quick, parts: ["model"], endpoint, cacheFolder, ...more }),
      cacheFolder,
    ));
}

Deno.test("downloadModel() does not take what it has when the hub refuses, and has it still afterwards", () =>
  withHub(async (hub, load) => {
    const folder = await load();
    for (
      const refusal of [
        () => new Response("", { status: 401 }),
        () => new Response("", { status: 404 }),
        () => Response.json({ sha: "none" }),
        () => Response.json({ sha: SECOND, siblings: [{ rfilename: "../x", size: 1 }] }),
        () => new Response("<html>"),
      ]
    ) {
      hub.answer = (path) => path.startsWith("/api/") ? refusal() : undefined;
      await assert.rejects(load(), DownloadError);
    }
    // What cannot be reached is no refusal: what the hub said last holds, and it said nothing since.
    await assert.rejects(
      load({ endpoint: "http://127.0.0.1:1", revision: "other" }),
      DownloadError,
    );
    assert.equal(await load({ endpoint: "http://127.0.0.1:1" }), folder);
    hub.answer = () => undefined;
    hub.fetched();
    assert.equal(await load(), folder);
    assert.deepEqual(hub.fetched(), []);
  }));

Deno.test("downloadModel() asks anew each time, and keeps commits and revisions apart", () =>
  withHub(async (hub, load, cacheFolder) => {
    const first = await load();
    assert.equal(first, join(cacheFolder, "a--b", FIRST));
    hub.revisions = { main: SECOND, "refs/pr/1": FIRST };
    hub.files["model.safetensors"] = "other weights";
    const second = await load();
    assert.equal(second, join(cacheFolder, "a--b", SECOND));
    const weights = (folder: string) => Deno.readTextFile(join(folder, "model.safetensors"));
    assert.equal(await weights(second), "other weights");
    assert.equal(await weights(first), "weights");
    hub.files["model.safetensors"] = "weights";
    hub.asked.length = 0;
    assert.equal(await load({ revision: "refs/pr/1" }), first);
    assert.deepEqual(hub.asked, ["/api/models/a/b/revision/refs%2Fpr%2F1"]);
    await assert.rejects(load({ revision: "none" }), DownloadError);
    const away = { endpoint: "http://127.0.0.1:1" };
    assert.equal(await load(away), second);
    assert.equal(await load({ ...away, revision: "refs/pr/1" }), first);
  }));

Deno.test("downloadModel() fetches a file of another length anew, and leaves the others", () =>
  withHub(async (hub, load) => {
    const folder = await load();
    const path = join(folder, "model.safetensors");
    await Deno.writeTextFile(path, "weigh");
    hub.fetched();
    const progress: number[] = [];
    await load({ onProgress: ({ done, total }) => (assert.equal(total, 9), progress.push(done)) });
    assert.deepEqual(hub.fetched(), ["model.safetensors"]);
    assert.equal(await Deno.readTextFile(path), "weights");
    assert.equal(progress[0], 2, "config.json counts first");
    assert.equal(progress.at(-1), 9);
    assert.deepEqual(progress, progress.toSorted((a, b) => a - b));
  }));

Deno.test("downloadModel() takes one file of weights before several, and tokenizer.json before GPT-2's own", () =>
  withHub(async (hub, load) => {
    const weight_map = { a: "x.safetensors", b: "y.safetensors", c: "x.safetensors" };
    Object.assign(hub.files, {
      "model.safetensors.index.json": JSON.stringify({ weight_map }),
      ...{ "x.safetensors": "x", "y.safetensors": "y" },
      ...{ "tokenizer.json": "{}", "vocab.json": "{}", "merges.txt": "" },
    });
    await load({ parts: ["model", "tokenizer"] });
    assert.deepEqual(hub.fetched(), ["tokenizer.json", "config.json", "model.safetensors"]);
    hub.revisions.main = SECOND;
    for (const name of ["model.safetensors", "tokenizer.json"]) delete hub.files[name];
    let last = {};
    await load({ onProgress: ({ done, total }) => last = { done, total } });
    assert.deepEqual(last, { done: 4, total: 4 }, "each file counts once");
    assert.deepEqual(hub.fetched(), [
      ...["model.safetensors.index.json", "config.json", "x.safetensors", "y.safetensors"],
    ]);
    await load({ parts: ["tokenizer"] });
    assert.deepEqual(hub.fetched(), ["vocab.json", "merges.txt"]);
  }));

Deno.test("hubUrl() escapes the parts of a path, and takes slashes off the hub's address", () => {
  assert.equal(
    hubUrl("a/b c/ü?#%.txt", { endpoint: "http://hub.test//" }),
    "http://hub.test/a/b%20c/%C3%BC%3F%23%25.txt",
  );
  assert.equal(hubUrl("a/b"), "https://huggingface.co/a/b");
});

/** The waits before each retry, which none of them takes. */
async function waits(
  options: { retries?: number; retryDelay?: number },
  fail: (attempt: number, progressed: () => void) => unknown,
): Promise<number[]> {
  const { setTimeout } = globalThis;
  const found: number[] = [];
  globalThis.setTimeout = ((work: () => void, ms: number) => {
    found.push(ms);
    return setTimeout(work, 0);
  }) as typeof setTimeout;
  try {
    let attempt = 0;
    await assert.rejects(
      withRetries("http://hub.test/a", options, (progressed) => {
        return Promise.reject(fail(++attempt, progressed));
      }),
      DownloadError,
    );
    assert.equal(attempt, found.length + 1);
  } finally {
    globalThis.setTimeout = setTimeout;
  }
  return found;
}

Deno.test("withRetries() waits twice as long each time, or as long as the server says", async () => {
  const lost = () => new TransientError("lost");
  assert.deepEqual(await waits({}, lost), [500, 1000, 2000, 4000]);
  assert.deepEqual(await waits({ retries: 0 }, lost), []);
  assert.deepEqual(await waits({ retries: 3, retryDelay: 30_000 }, lost), [30_000, 60_000, 60_000]);
  const busy = (after: string) => () =>
    new TransientError("busy", {
      response: new Response("", { status: 429, headers: { "retry-after": after } }),
    });
  assert.deepEqual(await waits({ retries: 2 }, busy("7")), [7000, 7000]);
  assert.deepEqual(await waits({ retries: 2 }, busy("0")), [500, 1000]);
  assert.deepEqual(await waits({ retries: 2 }, busy("soon")), [500, 1000]);
  assert.deepEqual(await waits({ retries: 1 }, busy("1000000")), [3_600_000]);
  const [until] = await waits({ retries: 1 }, busy(new Date(Date.now() + 90_000).toUTCString()));
  assert.ok(until > 80_000 && until <= 90_000, `${until}`);
  const past = new Date(Date.now() - 90_000).toUTCString();
  assert.deepEqual(await waits({ retries: 1 }, busy(past)), [500]);
  // What has come on begins the count anew.
  const slow = await waits({ retries: 2 }, (attempt, progressed) => {
    if (attempt === 2) progressed();
    return lost();
  });
  assert.deepEqual(slow, [500, 500, 1000]);
});

Deno.test("downloadModel() tries again where the server is busy, and at nothing else", () =>
  withHub(async (hub, load) => {
    for (const [status, times] of [[500, 3], [503, 3], [429, 3], [408, 3], [403, 1], [400, 1]]) {
      hub.asked.length = 0;
      hub.answer = () => new Response("", { status });
      await assert.rejects(load({ retries: 2 }), (error: unknown) => {
        assert.ok(error instanceof DownloadError);
        assert.equal(error.status, status);
        return true;
      });
      assert.equal(hub.asked.length, times, `status ${status}`);
    }
  }));

Deno.test("hubToken() takes a token without the white space about it, and an empty one for none", () => {
  const names = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];
  const before = names.map((name) => Deno.env.get(name));
  try {
    Deno.env.set(names[0], " \n");
    Deno.env.set(names[1], " secret\n");
    assert.equal(hubToken(undefined), "secret");
    assert.equal(hubToken("given"), "given");
    assert.equal(hubToken(""), undefined);
  } finally {
    names.forEach((name, i) => {
      const value = before[i];
      value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
    });
  }
});

Deno.test("downloadHubFile() refuses a file of which the hub says another length, a shorter one too", async () => {
  const file = { repository: "a/b", revision: FIRST, path: "x.bin", bytes: 4 };
  let size = "4";
  await withServer(
    () => new Response("1234", { headers: { "x-linked-size": size } }),
    async (endpoint, folder) => {
      const options = { ...quick, endpoint };
      await downloadHubFile(file, join(folder, "right"), options);
      for (size of ["3", "5"]) {
        const wrong = downloadHubFile(file, join(folder, size), options);
        await assert.rejects(wrong, DownloadError);
      }
    },
  );
});

Deno.test("listHubFiles() does not follow a list to another host, which would be shown the token", () => {
  const other: string[] = [];
  return withServer((request) => {
    other.push(request.url);
    return Response.json([]);
  }, (elsewhere) =>
    withServer(
      ({ url }) =>
        new URL(url).pathname.includes("/revision/")
          ? Response.json({ sha: FIRST })
          : Response.json([], { headers: { link: `<${elsewhere}/next>; rel="next"` } }),
      async (endpoint) => {
        const options = { ...quick, endpoint, token: "secret" };
        await assert.rejects(listHubFiles("a/b", options), DownloadError);
        assert.deepEqual(other, []);
      },
    ));
});

Deno.test("download() puts no part together that the server did not begin where it was asked to", async () => {
  const content = "0123456789";
  const headers = { etag: '"same"' };
  let asked = 0;
  await withServer(({ headers: wanted }) => {
    asked++;
    if (!wanted.has("range")) return new Response(content, { headers });
    return new Response(content.slice(2), {
      status: 206,
      headers: { ...headers, "content-range": "bytes 2-9/10" },
    });
  }, async (endpoint, folder) => {
    const path = join(folder, "a.txt");
    await Deno.writeTextFile(`${path}.part`, content.slice(0, 4));
    await Deno.writeTextFile(`${path}.part.version`, headers.etag);
    await download(`${endpoint}/a.txt`, path, { retries: 2, retryDelay: 1 });
    assert.equal(asked, 2);
    assert.equal(await Deno.readTextFile(path), content);
  });
});
