// Preparing a corpus on several ranks: the shards of one process, whatever happens to a rank.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { prepareCorpus } from "../../src/data/prepare/prepare.ts";
import { madeUpDocuments, parquetOf } from "../data/prepare_files.ts";
import { finish, inFolder } from "../support/examples.ts";
import { onLauncher, runRanks, startRanks } from "../support/mpi.ts";

const urlOf = (path: string) => JSON.stringify(new URL(`../../${path}`, import.meta.url).href);
const cli = new URL("../../src/cli/cli.ts", import.meta.url).pathname;

/** Small pieces, so that every rank gets many. */
const small = { tokensPerShard: 700, chunkBytes: 500, saveEvery: 0 };

/** Prepares on all ranks; rank 0 prints a dot for each piece, every rank writes how it ended. */
const script = `
  import { prepareCorpus } from ${urlOf("src/data/prepare/prepare.ts")};
  import { openCommunicator } from ${urlOf("src/distributed/mpi.ts")};
  await using communicator = await openCommunicator();
  const { rank } = communicator;
  const [workers, out, ...paths] = Deno.args;
  if (rank === 0) console.log("rank 1 is " + (await communicator.gather(Float64Array.of(Deno.pid)))[1]);
  else await communicator.gather(Float64Array.of(Deno.pid));
  const result = await prepareCorpus(paths, out, {
    ...${JSON.stringify(small)}, workers: Number(workers), communicator,
    onProgress: () => rank === 0 && Deno.stdout.writeSync(Uint8Array.of(46)),
  });
  await Deno.writeTextFile("result" + rank, JSON.stringify(result));`;

/** The names and checksums of the shards and the manifest in a folder. */
function contentOf(folder: string): string[] {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  return names.filter((name) => name !== ".lock").map((name) => {
    const bytes = Deno.readFileSync(join(folder, name));
    return `${name} ${createHash("sha256").update(bytes).digest("hex")}`;
  });
}

async function writeCorpus(folder: string): Promise<string[]> {
  const [a, b, c] = [1, 2, 3].map((seed) => madeUpDocuments(90, seed));
  const lines = b.map((text) => JSON.stringify({ text }) + "\n").join("");
  const files: [string, Uint8Array][] = [
    ["a.parquet", parquetOf(a, { pageSize: 300 })],
    ["b.jsonl.gz", gzipSync(lines)],
    ["c.txt", new TextEncoder().encode(c.join("<|endoftext|>"))],
  ];
  for (const [name, bytes] of files) await Deno.writeFile(join(folder, name), bytes);
  return files.map(([name]) => join(folder, name));
}

onLauncher(
  "2 and 3 ranks prepare the bytes of one process, also after one was killed",
  "openmpi",
  () =>
    inFolder(async (folder) => {
      const paths = await writeCorpus(folder);
      const one = join(folder, "one"), out = join(folder, "out");
      const expected = await prepareCorpus(paths, one, { ...small, workers: 0 });
      const main = join(folder, "main.ts");
      await Deno.writeTextFile(main, script);
      const deno = (workers: number) => ["-A", "--no-check", main, String(workers), out, ...paths];

      const child = startRanks("openmpi", 2, deno(1), { cwd: folder });
      let isKilled = false;
      const killed = await finish(child, (text) => {
        if (isKilled || !/\.{40}/.test(text)) return;
        isKilled = true;
        Deno.kill(Number(/rank 1 is (\d+)/.exec(text)![1]), "SIGKILL");
      });
      assert.notEqual(killed.code, 0, killed.text);
      const { complete, total } = JSON.parse(
        await Deno.readTextFile(join(out, "prepare.json")),
      );
      assert.equal(complete, false);
      assert.ok(total > 0 && total < expected.tokens, `${total} of ${expected.tokens}`);

      const resumed = await runRanks("openmpi", 3, deno(0), { cwd: folder });
      assert.equal(resumed.code, 0, resumed.text);
      assert.deepEqual(contentOf(out), contentOf(one));
      const names = expected.paths.map((path) => path.replace(one, out));
      for (const rank of [0, 1, 2]) {
        const result = JSON.parse(await Deno.readTextFile(join(folder, `result${rank}`)));
        assert.deepEqual(result, { ...expected, paths: names });
      }
    }),
);

onLauncher(
  "dinograd prepare on 2 ranks names the one that fails, then goes on, with one log",
  "openmpi",
  () =>
    inFolder(async (folder) => {
      // Two pieces of 4 MiB, of which rank 1 has the second.
      const lines = madeUpDocuments(400, 5).map((text) => JSON.stringify({ text }));
      const all = Array.from({ length: 60 }, () => lines).flat();
      const path = join(folder, "a.jsonl");
      const bad = all.length - 2;
      await Deno.writeTextFile(path, all.with(bad, all[bad].replace("{", "[")).join("\n"));
      const { size } = await Deno.stat(path);
      assert.ok(size > 2 ** 22 && size < 2 ** 23, `${size} bytes`);
      const args = ["-A", cli, "prepare", "--out", "out", "--shard-tokens", "500000", path];
      const run = () => runRanks("openmpi", 2, args, { cwd: folder });

      const failed = await run();
      assert.notEqual(failed.code, 0, failed.text);
      const error = `error: rank 1 on \\S+: ${path}: line ${bad + 1}: expected JSON: .*; run the`;
      assert.match(failed.text, new RegExp(error));

      await Deno.writeTextFile(path, all.join("\n"));
      const { code, text, out } = await run();
      assert.equal(code, 0, text);
      const one = join(folder, "one");
      const { paths } = await prepareCorpus([path], one, { tokensPerShard: 500000 });
      assert.equal(out, `2.93M tokens of 24k documents in ${paths.length} shards in out\n`);
      assert.deepEqual(contentOf(join(folder, "out")), contentOf(one));
    }),
);
