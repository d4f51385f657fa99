/**
 * A hub that answers wrongly: in what it lists, in status, headers, redirects and bodies, to one caller or several.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { DownloadError } from "../../../src/hub/http.ts";
import { hubCorpusFile, listHubFiles } from "../../../src/hub/hub.ts";
import { downloadModel } from "../../../src/pretrained/download_model.ts";
import { type Format, holds, Inconsistent } from "../format.ts";
import { mutateBytes, mutateJsonText } from "../mutations.ts";
import type { Chance } from "../random.ts";

const COMMIT = "c".repeat(40);
/** What a folder may hold beside the files listed: the list itself, versions of parts. */
const SPARE_BYTES = 2 ** 20;

/** The files of the model `a/b` and of the data set `a/b`. */
const FILES = new Map(
  ["config.json", "tokenizer.json", "model.safetensors", "en/train.jsonl", "fr/train.jsonl"]
    .map((path, i) => [path, new TextEncoder().encode(`${path}\n`.repeat(500 + 300 * i))]),
);

const hash = (name: string, bytes: Uint8Array) => createHash(name).update(bytes).digest("hex");
const isLarge = (path: string) => path.endsWith(".safetensors");

/** The files as the hub's two listings have them. */
const siblings = Array.from(FILES, ([rfilename, bytes]) => {
  const git = hash("sha1", new TextEncoder().encode(`blob ${bytes.length}\0`));
  const lfs = isLarge(rfilename) ? { lfs: { sha256: hash("sha256", bytes) } } : {};
  return { rfilename, size: bytes.length, blobId: isLarge(rfilename) ? git : undefined, ...lfs };
});
const tree = siblings.map(({ rfilename: path, size, lfs }) => {
  return { type: "file", path, size, ...(lfs && { lfs: { oid: lfs.sha256 } }) };
});

/** Changes the answer to some requests. */
type Spoil = (good: Answer, request: Request) => Response;

interface Answer {
  /** JSON of a listing, or undefined. */
  json?: unknown;
  body: Uint8Array<ArrayBuffer>;
  status: number;
  headers: Record<string, string>;
}

/** Answers of a hub. */
export const hub: Format = {
  name: "hub",
  place: /: ./,
  milliseconds: 15_000,
  allowance: 8 << 20, // buffers to hash with
  documented: (error) => error instanceof DownloadError,
  prepare(folder) {
    let spoil: Spoil = plain;
    const server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen: () => {}, onError: () => new Response() },
      (request) => spoil(answerTo(request), request),
    );
    server.unref(); // the child ends when its cases do
    const endpoint = `http://127.0.0.1:${server.addr.port}`;
    return Promise.resolve((chance) => {
      const inner = join(folder, "inner");
      const twoProcesses = chance.oneIn(100);
      const next = twoProcesses ? breakingOnce() : spoiling(chance, endpoint);
      const dataSet = chance.oneIn(2);
      const times = chance.pick([1, 1, 2, 3]);
      return {
        bytes: 2 ** 16,
        file: endpoint,
        async read() {
          await Deno.remove(inner, { recursive: true }).catch(() => {});
          await Deno.mkdir(inner);
          spoil = next;
          const calls = twoProcesses ? [1, 2].map(() => inProcess(endpoint, inner)) : Array.from(
            { length: times },
            () => dataSet ? fetchDataSet(endpoint, inner) : fetchModel(endpoint, inner),
          );
          const results = await Promise.allSettled(calls);
          spoil = plain;
          await checkFolder(folder);
          for (const result of results) {
            if (result.status === "rejected") throw result.reason;
          }
        },
      };
    });
  },
};

const options = { retries: 1, retryDelay: 0, stallTimeout: 50, token: "hf_secret" };

async function fetchModel(endpoint: string, cacheFolder: string): Promise<void> {
  await downloadModel("a/b", { ...options, endpoint, cacheFolder });
}

async function fetchDataSet(endpoint: string, folder: string): Promise<void> {
  const { signal } = new AbortController();
  for (const file of await listHubFiles("a/b", { ...options, endpoint })) {
    holds(join("/folder", file.path).startsWith("/folder/"), `listed ${file.path}`);
    const path = await hubCorpusFile(file, folder, { ...options, endpoint }).open(signal);
    holds((await Deno.stat(path)).size === file.bytes, `${file.path} has another length`);
  }
}

/** Downloads the model in a process of its own, which must succeed. */
async function inProcess(endpoint: string, cacheFolder: string): Promise<void> {
  const entry = import.meta.resolve("../../../src/pretrained/download_model.ts");
  const settings = JSON.stringify({ ...options, retries: 3, endpoint, cacheFolder });
  const code = `import { downloadModel } from ${JSON.stringify(entry)};
    await downloadModel("a/b", ${settings});`;
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", code],
  }).output();
  if (!success) throw new Inconsistent(new TextDecoder().decode(stderr).slice(0, 500));
}

/** Nothing beside the folder given, and no more in it than was listed. */
async function checkFolder(folder: string): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    holds(name === "inner", `wrote ${name} outside of its folder`);
  }
  let bytes = 0;
  for (const name of await namesIn(join(folder, "inner"))) {
    bytes += (await Deno.stat(name)).size;
    holds(!(await Deno.readTextFile(name)).startsWith("root:"), `copied a local file to ${name}`);
  }
  holds(bytes < SPARE_BYTES, `wrote ${bytes} bytes`);
}

async function namesIn(folder: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = join(folder, name);
    names.push(...isDirectory ? await namesIn(path) : [path]);
  }
  return names;
}

/** What a good hub answers. */
function answerTo(request: Request): Answer {
  const { pathname } = new URL(request.url);
  const listed = (json: unknown): Answer => {
    return { json, body: new TextEncoder().encode(JSON.stringify(json)), status: 200, headers: {} };
  };
  if (pathname.startsWith("/api/models/")) return listed({ sha: COMMIT, siblings });
  if (pathname.includes("/revision/")) return listed({ sha: COMMIT });
  if (pathname.includes("/tree/")) return listed(tree);
  const body = FILES.get(pathname.replace(/^.*\/resolve\/[^/]*\//, ""));
  if (!body) return { body: new Uint8Array(), status: 404, headers: {} };
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1] ?? 0);
  if (start === 0) return { body, status: 200, headers: { etag: '"1"' } };
  const headers = {
    etag: '"1"',
    "content-range": `bytes ${start}-${body.length - 1}/${body.length}`,
  };
  return { body: body.slice(start), status: 206, headers };
}

const plain: Spoil = ({ body, status, headers }) => new Response(body, { status, headers });

/** Breaks the first answer of each file off, so that it is resumed. */
function breakingOnce(): Spoil {
  const seen = new Set<string>();
  return (good, request) => {
    if (good.json !== undefined || seen.has(request.url)) return plain(good, request);
    seen.add(request.url);
    return plain({ ...good, body: good.body.subarray(0, good.body.length >> 1) }, request);
  };
}

/** Spoils some of the answers in one way. */
function spoiling(chance: Chance, endpoint: string): Spoil {
  const spoil = chance.pick([
    spoilJson,
    spoilJson,
    spoilBytes,
    spoilStatus,
    spoilRedirect,
    spoilHeaders,
    spoilFlow,
  ]);
  const rarely = chance.pick([1, 1, 2, 3]);
  const [lists, files] = chance.pick([[true, true], [true, false], [false, true]]);
  return (good, request) =>
    (good.json === undefined ? files : lists) && chance.oneIn(rarely)
      ? spoil(good, chance, endpoint)
      : plain(good, request);
}

type Way = (good: Answer, chance: Chance, endpoint: string) => Response;

const respond = ({ body, status, headers }: Answer) =>
  new Response([101, 204, 205, 304].includes(status) ? null : body, { status, headers });

const spoilJson: Way = (good, chance) => {
  if (good.json === undefined) return respond(good);
  if (!chance.oneIn(4)) return new Response(mutateJsonText(good.json, chance));
  const path = chance.pick([
    "../a",
    "en/../../a",
    "/tmp/a",
    "a/..",
    "..\\a",
    "C:\\a",
    "a\0",
    "",
    ".",
  ]);
  const text = JSON.stringify(good.json);
  return new Response(text.replace(/"en[^"]*"/, () => JSON.stringify(path)));
};

const spoilBytes: Way = (good, chance) =>
  respond({ ...good, body: mutateBytes(good.body, chance) as Uint8Array<ArrayBuffer> });

const spoilStatus: Way = (good, chance) => {
  const statuses = [200, 201, 204, 206, 300, 301, 302, 304, 307, 400, 401, 403, 404, 408, 416, 500];
  return respond({ ...good, status: chance.pick(statuses) });
};

const spoilRedirect: Way = (good, chance, endpoint) => {
  const places = ["data:text/plain,root:", "blob:x", "//", "http://", "\\\\a\\b", "?", "", "/"];
  const others = ["/etc/passwd", `${endpoint}/x`, "http://127.0.0.1:9/", "https://127.0.0.1:9/"];
  const location = chance.oneIn(2) ? "file:///etc/passwd" : chance.pick([...places, ...others]);
  return respond({ ...good, status: chance.pick([301, 302, 307]), headers: { location } });
};

const spoilHeaders: Way = (good, chance) => {
  const number = chance.pick(["-1", "0", "7", "1e9", "9007199254740993", "x", ""]);
  switch (chance.below(3)) {
    case 0: {
      const next = chance.pick(["?page", "/", "//", "file:///etc/passwd", "http://127.0.0.1:9/"]);
      return respond({ ...good, headers: { link: `<${next}>; rel="next"` } });
    }
    case 1: {
      const range = `bytes ${number}-${chance.pick(["5", number])}/${chance.pick(["*", number])}`;
      const status = chance.pick([206, 416]);
      return respond({ ...good, status, headers: { etag: number, "content-range": range } });
    }
    default:
      return respond({ ...good, headers: { "x-linked-size": number, "x-linked-etag": number } });
  }
};

/** Bodies without end, that trickle, that break off, that never begin. */
const spoilFlow: Way = ({ status, headers, body }, chance) => {
  const way = chance.below(4);
  const piece = way === 0 ? new Uint8Array(2 ** 18).fill(0x20) : body.slice(0, 1);
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (way === 1) await new Promise((done) => setTimeout(done, 10));
      if (way === 2) return controller.error(new Error("broken"));
      if (way === 3) return await new Promise((done) => setTimeout(done, 300));
      controller.enqueue(piece);
    },
  });
  return new Response(stream, { status, headers });
};
