// What a hub may answer: bounds, paths, tokens, files of one name.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { DownloadError } from "../../src/hub/http.ts";
import { downloadHubFile, hubCorpusFile, listHubFiles } from "../../src/hub/hub.ts";
import { downloadModel } from "../../src/pretrained/download_model.ts";
import { endless, withServer } from "./server.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const quick = { retries: 0, retryDelay: 1, token: "" };

const gitHash = (text: string) =>
  createHash("sha1").update(`blob ${text.length}\0${text}`).digest("hex");

/** A hub with a data set `a/b` of small files, which changes none of its answers. */
function dataSet(files: Record<string, string>): (request: Request) => Response {
  return ({ url }) => {
    const path = decodeURIComponent(new URL(url).pathname);
    if (path === "/api/datasets/a/b/revision/main") return Response.json({ sha: COMMIT });
    if (path === `/api/datasets/a/b/tree/${COMMIT}`) {
      return Response.json(
        Object.entries(files).map(([path, text]) => {
          return { type: "file", path, size: text.length, oid: gitHash(text) };
        }),
      );
    }
    const file = files[path.replace(`/datasets/a/b/resolve/${COMMIT}/`, "")];
    return file === undefined ? new Response("", { status: 404 }) : new Response(file);
  };
}

async function refuses(call: Promise<unknown>, message: RegExp): Promise<void> {
  await assert.rejects(call, (error: unknown) => {
    assert(error instanceof DownloadError, String(error));
    assert.match(error.message, /^http:\/\/127\.0\.0\.1:\d+\/.*: /);
    assert.match(error.message, message);
    return true;
  });
}

Deno.test("hubCorpusFile() shows the token for small files, and keeps files of one name apart", async () => {
  const files = { "en/train.jsonl": '{"text": "one"}\n', "fr/train.jsonl": '{"text": "une"}\n' };
  const hub = dataSet(files);
  const gated = (request: Request) =>
    request.headers.get("authorization") === "Bearer secret"
      ? hub(request)
      : new Response("", { status: 401 });
  await withServer(gated, async (endpoint, folder) => {
    const options = { ...quick, endpoint, token: "secret" };
    const corpus = (await listHubFiles("a/b", options))
      .map((file) => hubCorpusFile(file, folder, options));
    assert.deepEqual(corpus.map(({ name }) => name), Object.keys(files));
    const { signal } = new AbortController();
    for (const file of corpus) await file.open(signal);
    const texts = await Promise.all(
      corpus.map(async (file) => await Deno.readTextFile(await file.open(signal))),
    );
    assert.deepEqual(texts, Object.values(files));
    for (const file of corpus) await file.release?.();
    assert.deepEqual([...Deno.readDirSync(folder)], []);
  });
});

Deno.test("downloadHubFile() refuses a small file of another content", () =>
  withServer(dataSet({ "a.txt": "right" }), async (endpoint, folder) => {
    const [file] = await listHubFiles("a/b", { ...quick, endpoint });
    const other = { ...file, gitHash: gitHash("wrong") };
    await refuses(
      downloadHubFile(other, join(folder, "a.txt"), { ...quick, endpoint }),
      /expected git hash [0-9a-f]{40} but got [0-9a-f]{40}$/,
    );
    assert.deepEqual([...Deno.readDirSync(folder)], []);
  }));

Deno.test("listHubFiles() and downloadModel() end when the hub sends JSON without end", async () => {
  const tooMuch = /expected at most 33554432 bytes of JSON but got more$/;
  await withServer(() => endless(" ".repeat(2 ** 18)), async (endpoint, folder) => {
    await refuses(listHubFiles("a/b", { ...quick, endpoint }), tooMuch);
    await refuses(downloadModel("a/b", { ...quick, endpoint, cacheFolder: folder }), tooMuch);
    assert.deepEqual([...Deno.readDirSync(folder)], []);
  });
});

Deno.test("listHubFiles() ends when the pages of a list do not", async () => {
  let next = (url: URL) => url.href;
  let page = "[]";
  let pages = 0;
  const hub = dataSet({});
  const handler = (request: Request) => {
    const url = new URL(request.url);
    if (!url.pathname.includes("/tree/")) return hub(request);
    pages++;
    return new Response(page, { headers: { link: `<${next(url)}>; rel="next"` } });
  };
  await withServer(handler, async (endpoint) => {
    const list = () => listHubFiles("a/b", { ...quick, endpoint });
    const message = /expected at most 1000 pages, each of them once, but got http/;
    await refuses(list(), message);
    assert.equal(pages, 1);
    pages = 0;
    next = (url) => `${url.pathname}?page=${pages}`;
    await refuses(list(), message);
    assert.equal(pages, 1000);
    page = `[${" ".repeat(2 ** 24)}]`;
    pages = 0;
    await refuses(list(), /expected at most \d+ bytes of JSON but got more$/);
    assert.equal(pages, 2);
  });
});

Deno.test("listHubFiles() and downloadModel() refuse paths that leave the folder", async () => {
  let path = "";
  const handler = ({ url }: Request) =>
    Response.json(
      url.includes("/tree/") ? [{ type: "file", path, size: 3 }] : {
        sha: COMMIT,
        siblings: [{ rfilename: path, size: 3 }],
      },
    );
  await withServer(handler, async (endpoint, folder) => {
    for (
      path of [
        ...["../x", "a/../../x", "a/..", "/etc/passwd", "a\\..\\x", "C:/x", "c:x", "a\0b"],
        ...["", "a//b", "./a", "a\nb", "x".repeat(300)],
      ]
    ) {
      const message = /expected a path in the repository but got "/;
      await refuses(listHubFiles("a/b", { ...quick, endpoint }), message);
      await refuses(downloadModel("a/b", { ...quick, endpoint, cacheFolder: folder }), message);
    }
    path = "en/..a/train.jsonl";
    assert.equal((await listHubFiles("a/b", { ...quick, endpoint }))[0].path, path);
  });
});

Deno.test("downloadHubFile() follows redirects to http and https alone", async () => {
  let location = "";
  const handler = () => new Response("", { status: 302, headers: { location } });
  await withServer(handler, async (endpoint, folder) => {
    const secret = join(folder, "secret.txt");
    await Deno.writeTextFile(secret, "secret");
    const file = { repository: "datasets/a/b", revision: COMMIT, path: "a.txt", bytes: 6 };
    const fetched = () => downloadHubFile(file, join(folder, "a.txt"), { ...quick, endpoint });
    location = new URL(`file://${secret}`).href;
    await refuses(fetched(), /expected an address of http or https but got file:\/\/\//);
    location = "data:text/plain,secret";
    await refuses(fetched(), /expected an address of http or https but got data:/);
    location = "http://";
    await refuses(fetched(), /expected a redirect to an https? address but got http:\/\/$/);
    location = "/again";
    await refuses(fetched(), /expected at most 10 redirects but got more$/);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["secret.txt"]);
  });
});

Deno.test("downloadHubFile() does not go from https to http", async () => {
  const asked: string[] = [];
  const { fetch } = globalThis;
  globalThis.fetch = (input) => {
    asked.push(String(input));
    return Promise.resolve(Response.redirect("http://127.0.0.1:9/a.txt"));
  };
  const folder = await Deno.makeTempDir();
  try {
    const file = { repository: "a/b", revision: COMMIT, path: "a.txt", bytes: 6 };
    await assert.rejects(
      downloadHubFile(file, join(folder, "a.txt"), { ...quick, endpoint: "https://hub.test" }),
      /expected a redirect to an https address but got http:\/\/127\.0\.0\.1:9\/a\.txt$/,
    );
    assert.deepEqual(asked, [`https://hub.test/a/b/resolve/${COMMIT}/a.txt`]);
  } finally {
    globalThis.fetch = fetch;
    await Deno.remove(folder, { recursive: true });
  }
});
