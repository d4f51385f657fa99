// Downloads, from a server on this machine that answers as the hub does.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { DownloadError } from "../../src/hub/download.ts";
import { hubToken } from "../../src/hub/hub.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import {
  downloadModel,
  type ModelDownloadProgress,
  type ModelHubOptions,
} from "../../src/pretrained/download_model.ts";
import { loadModel } from "../../src/pretrained/load_model.ts";
import { loadTokenizer } from "../../src/pretrained/load_tokenizer.ts";
import { saveModel } from "../../src/pretrained/save_model.ts";
import { END_OF_TEXT } from "../../src/tokenizer/gpt2_tokenizer.ts";
import { BYTE_CHARACTERS } from "../../src/tokenizer/vocabulary.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { assertSame } from "../support/compare.ts";

const device = CpuDevice.open({ threads: 1 });
addEventListener("unload", () => device.close());
const commit = "0123456789abcdef0123456789abcdef01234567";
const quick = { retries: 1, retryDelay: 1 };

/** A hub with one model, `a/b`. Large files are sent by a second server, which must see no token. */
class FakeHub implements AsyncDisposable {
  /** What was asked for: the path, and whether the hub was shown a token. */
  readonly asked: string[] = [];
  /** Changes what is sent; undefined where nothing is changed. */
  answer: (path: string, request: Request) => Response | undefined = () => undefined;
  readonly #servers: Deno.HttpServer<Deno.NetAddr>[];

  constructor(readonly files: Map<string, Uint8Array<ArrayBuffer>>) {
    const options = { port: 0, hostname: "127.0.0.1", onListen: () => {} };
    const store = Deno.serve(options, (request) => this.#send(new URL(request.url), request));
    const hub = Deno.serve(options, (request) => {
      const url = new URL(request.url);
      const name = url.pathname.split("/").at(-1)!;
      if (url.pathname.startsWith("/api/") || !name.endsWith(".safetensors")) {
        return this.#send(url, request);
      }
      this.#note(url, request);
      return Response.redirect(`http://127.0.0.1:${store.addr.port}${url.pathname}`, 302);
    });
    this.#servers = [hub, store];
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#servers[0].addr.port}`;
  }

  #note(url: URL, request: Request): void {
    this.asked.push(`${url.pathname}${request.headers.has("authorization") ? " with token" : ""}`);
  }

  #send(url: URL, request: Request): Response {
    this.#note(url, request);
    const changed = this.answer(url.pathname, request);
    if (changed) return changed;
    if (url.pathname === "/api/models/a/b/revision/main") return Response.json(this.listing());
    const body = this.files.get(url.pathname.slice(`/a/b/resolve/${commit}/`.length));
    if (!body) return new Response("none", { status: 404 });
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1] ?? 0);
    const headers = { "content-range": `bytes ${start}-${body.length - 1}/${body.length}` };
    return start > 0
      ? new Response(body.subarray(start), { status: 206, headers })
      : new Response(body);
  }

  listing(): { sha: string; siblings: Record<string, unknown>[] } {
    const siblings = [...this.files].map(([rfilename, body]) => {
      const hash = (name: string) => createHash(name);
      const blobId = hash("sha1").update(`blob ${body.length}\0`).update(body).digest("hex");
      const sha256 = hash("sha256").update(body).digest("hex");
      const lfs = rfilename.endsWith(".safetensors") ? { lfs: { sha256, size: body.length } } : {};
      return { rfilename, size: body.length, blobId, ...lfs };
    });
    return { sha: commit, siblings };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.shutdown()));
  }
}

/** Runs `body` with a hub that has a small GPT-2, and the folder of a cache. */
async function withHub(
  body: (
    hub: FakeHub,
    options: ModelHubOptions & { cacheFolder: string },
    model: GPT2,
  ) => Promise<void>,
  maxShardBytes?: number,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  const config = {
    vocabSize: 10,
    maxPositionEmbeddings: 6,
    hiddenSize: 8,
    numHiddenLayers: 1,
    numAttentionHeads: 2,
  };
  const model = new GPT2(config, { device });
  try {
    const source = join(folder, "source");
    await saveModel(source, model, { maxShardBytes });
    await Deno.writeTextFile(join(source, "tokenizer.json"), "{}");
    await Deno.writeTextFile(join(source, "pytorch_model.bin"), "never fetched");
    const files = new Map<string, Uint8Array<ArrayBuffer>>();
    for await (const { name } of Deno.readDir(source)) {
      files.set(name, await Deno.readFile(join(source, name)));
    }
    await using hub = new FakeHub(files);
    const cacheFolder = join(folder, "cache");
    await body(hub, { endpoint: hub.endpoint, cacheFolder, ...quick }, model);
  } finally {
    model.dispose();
    await Deno.remove(folder, { recursive: true });
  }
}

const valuesOf = (model: { parameters(): ReadonlyMap<string, never> }) =>
  readTensors([...model.parameters().values()]);
const resolved = (name: string) => `/a/b/resolve/${commit}/${name}`;

Deno.test("loadModel() downloads a model of the hub once, and tells how far it is", () =>
  withHub(async (hub, options, model) => {
    const progress: ModelDownloadProgress[] = [];
    const onProgress = (one: ModelDownloadProgress) => progress.push(one);
    const first = await loadModel("a/b", { ...options, device, onProgress });
    assertSame(await valuesOf(first as never), await valuesOf(model as never));
    const total = hub.files.get("config.json")!.length + hub.files.get("model.safetensors")!.length;
    assert.deepEqual(progress.at(-1), { file: "model.safetensors", done: total, total });
    progress.forEach(({ done }, i) => assert(i === 0 || done >= progress[i - 1].done));
    assert.deepEqual(hub.asked, [
      "/api/models/a/b/revision/main",
      resolved("config.json"),
      resolved("model.safetensors"), // the hub leads on to the store
      resolved("model.safetensors"),
    ]);
    hub.asked.length = 0;
    const second = await loadModel("a/b", { ...options, device });
    assert.deepEqual(hub.asked, ["/api/models/a/b/revision/main"]);
    first.dispose();
    second.dispose();
  }));

Deno.test("downloadModel() fetches the files that an index names, and the tokenizer when asked", () =>
  withHub(async (hub, options) => {
    hub.files.set("generation_config.json", new TextEncoder().encode("{}"));
    const folder = await downloadModel("a/b", options);
    assert.equal(folder, join(options.cacheFolder, "a--b", commit));
    const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
    const expected = [...hub.files.keys()].filter((name) => name !== "pytorch_model.bin").sort();
    assert(expected.length > 4);
    assert.deepEqual(names, expected);
    for (const name of names) {
      assertSame(await Deno.readFile(join(folder, name)), hub.files.get(name));
    }
  }, 1500));

Deno.test("loadTokenizer() takes GPT-2's vocabulary and merges when there is no tokenizer.json", () =>
  withHub(async (hub, options) => {
    hub.files.delete("tokenizer.json");
    await assert.rejects(
      loadTokenizer("a/b", options),
      /expected a file tokenizer\.json but got none$/,
    );
    const text = (value: string) => new TextEncoder().encode(value);
    const tokens = [...BYTE_CHARACTERS, "he", "ll", "hell", "hello", "\u0120hello", END_OF_TEXT];
    const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
    hub.files.set("vocab.json", text(JSON.stringify(vocab)));
    await assert.rejects(
      loadTokenizer("a/b", options),
      /expected a file merges\.txt but got none$/,
    );
    const merges = "#version: 0.2\nh e\r\nl l\nhe ll\nhell o\n\u0120 hello\n";
    hub.files.set("merges.txt", text(merges));
    const tokenizer = await loadTokenizer("a/b", options);
    assert.equal(tokenizer.vocabSize, 262);
    const ids = tokenizer.encode("hello hello<|endoftext|>é", { allowedSpecial: "all" });
    assert.deepEqual([...ids], [259, 260, 261, 0xc3, 0xa9]);
    assert.equal(tokenizer.decode(ids), "hello hello<|endoftext|>é");

    const folder = await downloadModel("a/b", { ...options, parts: ["tokenizer"] });
    await Deno.writeTextFile(join(folder, "merges.txt"), "#version: 0.2\nh e\nhell\n");
    await assert.rejects(loadTokenizer(folder), (error: unknown) => {
      assert(error instanceof FileFormatError);
      assert.match(error.message, /merges\.txt: line 3: expected two tokens but got "hell"/);
      return true;
    });
    await Deno.remove(join(folder, "merges.txt"));
    await assert.rejects(
      loadTokenizer(folder),
      /expected this file beside vocab\.json but got none/,
    );
    await Deno.remove(join(folder, "vocab.json"));
    await assert.rejects(loadTokenizer(folder), /expected this file or vocab\.json/);
  }));

Deno.test("downloadModel() shows its token to the hub and to no other server", () =>
  withHub(async (hub, options) => {
    await downloadModel("a/b", { ...options, token: "secret" });
    assert.deepEqual(hub.asked, [
      "/api/models/a/b/revision/main with token",
      `${resolved("tokenizer.json")} with token`,
      `${resolved("config.json")} with token`,
      `${resolved("model.safetensors")} with token`,
      resolved("model.safetensors"),
    ]);
  }));

Deno.test("downloadModel() takes a token from the environment, where it may read it", () =>
  withHub(async (hub, options) => {
    const variables = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];
    const before = variables.map((variable) => Deno.env.get(variable));
    const tokens: (string | null)[] = [];
    hub.answer = (_, request) => {
      tokens.push(request.headers.get("authorization"));
      return new Response("", { status: 401 });
    };
    const refused = (given: string | undefined, message: RegExp) =>
      assert.rejects(downloadModel("a/b", { ...options, token: given }), (error: unknown) => {
        assert(error instanceof DownloadError);
        assert.equal(error.status, 401);
        assert.match(error.message, message);
        return true;
      });
    try {
      variables.forEach((variable) => Deno.env.delete(variable));
      await refused(undefined, /401 Unauthorized: check the name, or set HF_TOKEN to an access/);
      Deno.env.set("HUGGING_FACE_HUB_TOKEN", "second");
      await refused(undefined, /401 Unauthorized: the access token \(HF_TOKEN\) gives no access/);
      Deno.env.set("HF_TOKEN", "first");
      await refused(undefined, /gives no access/);
      await refused("given", /gives no access/);
      await refused("", /check the name/);
      assert.deepEqual(tokens, [null, "Bearer second", "Bearer first", "Bearer given", null]);
    } finally {
      variables.forEach((variable, i) => {
        const value = before[i];
        value === undefined ? Deno.env.delete(variable) : Deno.env.set(variable, value);
      });
    }
  }));

Deno.test("hubToken() asks for no permission", { permissions: { env: false } }, () => {
  assert.equal(hubToken(undefined), undefined);
  assert.equal(hubToken("given"), "given");
});

Deno.test("downloadModel() goes on where it was broken off", () =>
  withHub(async (hub, options) => {
    const body = hub.files.get("model.safetensors")!;
    const ranges: (string | null)[] = [];
    hub.answer = (path, request) => {
      if (!path.endsWith("model.safetensors")) return;
      ranges.push(request.headers.get("range"));
      return ranges.length === 1 ? new Response(body.subarray(0, 1000)) : undefined;
    };
    await assert.rejects(
      downloadModel("a/b", { ...options, retries: 0 }),
      /but got 1000 before the connection ended$/,
    );
    const folder = await downloadModel("a/b", options);
    assert.deepEqual(ranges, [null, "bytes=1000-"]);
    assertSame(await Deno.readFile(join(folder, "model.safetensors")), body);
  }));

Deno.test("downloadModel() refuses files that are not those the hub lists", () =>
  withHub(async (hub, options) => {
    for (
      const [name, message] of [
        ["model.safetensors", /expected SHA-256 [0-9a-f]{64} but got/],
        ["config.json", /expected git hash [0-9a-f]{40} but got [0-9a-f]{40}$/],
      ] as const
    ) {
      for (const token of [undefined, "secret"]) {
        hub.answer = (path) =>
          path.endsWith(name) ? new Response(hub.files.get(name)!.toReversed()) : undefined;
        const cacheFolder = join(options.cacheFolder, `${name}${token}`);
        const download = downloadModel("a/b", { ...options, token, cacheFolder });
        await assert.rejects(download, (error: unknown) => {
          assert(error instanceof DownloadError);
          assert.match(error.message, message);
          return true;
        });
      }
      hub.answer = () => undefined;
    }
    await downloadModel("a/b", options);
  }));

Deno.test("downloadModel() takes what it has when the hub cannot be reached", () =>
  withHub(async (hub, options) => {
    const folder = await downloadModel("a/b", options);
    await hub[Symbol.asyncDispose]();
    for (const token of [undefined, "secret"]) {
      assert.equal(await downloadModel("a/b", { ...options, token }), folder);
    }
    await assert.rejects(downloadModel("a/c", options), DownloadError);
  }));

Deno.test("downloadModel() says when the hub has no such model, or none that can be read", () =>
  withHub(async (hub, options) => {
    await assert.rejects(
      downloadModel("a/c", options),
      /the server answered 404 Not Found: check the name and the revision$/,
    );
    await assert.rejects(
      downloadModel("a/c", { ...options, token: "x" }),
      /the server answered 404 Not Found: check the name and the revision$/,
    );
    for (const load of [loadModel, loadTokenizer]) {
      await assert.rejects(load("a/c", options), /404 Not Found: .*; nor is there a folder a\/c$/);
    }
    await assert.rejects(downloadModel("../b", options), TypeError);
    hub.files.delete("model.safetensors");
    await assert.rejects(
      downloadModel("a/b", options),
      /expected a file model\.safetensors but got none$/,
    );
    for (const listing of [{}, { sha: commit }, { sha: commit, siblings: [{}] }]) {
      hub.answer = () => Response.json(listing);
      await assert.rejects(downloadModel("a/b", options), DownloadError);
    }
  }));

Deno.test("downloadModel() fetches each file once when it is called several times at once", () =>
  withHub(async (hub, options) => {
    const parts = [["model"], ["tokenizer"], ["model", "tokenizer"], ["model"]] as const;
    const folders = await Promise.all(
      parts.map((parts) => downloadModel("a/b", { ...options, parts })),
    );
    assert.equal(new Set(folders).size, 1);
    const resolvedOnce = hub.asked.filter((path) => path.includes("/resolve/")).sort();
    assert.deepEqual(resolvedOnce, [
      resolved("config.json"),
      resolved("model.safetensors"), // the hub leads on to the store
      resolved("model.safetensors"),
      resolved("tokenizer.json"),
    ]);
    for (const name of ["config.json", "model.safetensors", "tokenizer.json"]) {
      assert.deepEqual(await Deno.readFile(join(folders[0], name)), hub.files.get(name));
    }
    const left = [...Deno.readDirSync(join(folders[0], ".."))].map(({ name }) => name).sort();
    assert.deepEqual(left, [commit, "main.json"]);
  }));
