/**
 * Proof: preparing a corpus stays under 1 GiB, however large its files, row groups and documents, and being killed changes
 * nothing. Writes about 2 GB of made-up text (JSONL, one line of 30 MB in it, and parquet with one row group of 300 MB),
 * prepares it undisturbed while it watches the process's memory, and once more with SIGKILLs, and compares the shards
 * byte for byte. `deno task proof:prepare [megabytes]`; Linux, some minutes and 3 GB of disk.
 */
import { parquetWriteBuffer } from "npm:hyparquet-writer@0.17.0";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { formatBytes, openProgress } from "../../mod.ts";

const MOST = 2 ** 30, KILLS = 5;
const megabytes = Number(Deno.args[0] ?? 2000);
const CLI = new URL("../../src/cli/cli.ts", import.meta.url).pathname;

const folder = await Deno.makeTempDir({ prefix: "dinograd-prepare" });
try {
  const files = await writeCorpus();
  const undisturbed = await prepare(files, "undisturbed");
  assert.ok(undisturbed.success);
  const rate = undisturbed.bytes / 1e6 / undisturbed.seconds;
  console.log(
    `undisturbed: ${formatBytes(undisturbed.bytes)} in ${undisturbed.seconds.toFixed(0)} s, ` +
      `${rate.toFixed(1)} MB/s; at most ${formatBytes(undisturbed.peak)} of memory`,
  );
  const peaks = [undisturbed.peak];
  const share = undisturbed.seconds * 1000 / (KILLS + 1);
  for (let kill = 1; kill <= KILLS; kill++) {
    const { success, peak } = await prepare(files, "killed", share * (0.5 + Math.random()));
    peaks.push(peak);
    console.log(
      `kill ${kill}: ${success ? "it had ended" : "killed"}, ${formatBytes(peak)} of memory`,
    );
    if (success) break;
  }
  const last = await prepare(files, "killed");
  assert.ok(last.success);
  const [a, b] = [await hashes("undisturbed"), await hashes("killed")];
  assert.ok(a.size > 1);
  assert.deepEqual(b, a);
  console.log(`${a.size} shards, the same bytes`);
  const peak = Math.max(...peaks, last.peak);
  console.log(`at most ${formatBytes(peak)}: ${peak < MOST ? "ok" : "MORE THAN 1 GiB"}`);
  if (peak >= MOST) Deno.exitCode = 1;
} finally {
  await Deno.remove(folder, { recursive: true });
}

/** The files, written a piece at a time. */
async function writeCorpus(): Promise<string[]> {
  using progress = await openProgress({ label: "writing", total: megabytes, unit: "MB" });
  const words = Array.from({ length: 20_000 }, (_, i) => (i * 2654435761 % 2 ** 32).toString(36));
  let state = 7;
  const next = (below: number) => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % below;
  const document = (length: number) => {
    const parts: string[] = [];
    for (let made = 0; made < length;) {
      const word = words[Math.min(next(words.length), next(words.length))];
      parts.push(word);
      made += word.length + 1;
    }
    return parts.join(" ");
  };
  const jsonl = join(folder, "corpus.jsonl");
  {
    using file = await Deno.open(jsonl, { write: true, create: true });
    const writer = file.writable.getWriter();
    const encoder = new TextEncoder();
    const line = (text: string) => writer.write(encoder.encode(JSON.stringify({ text }) + "\n"));
    for (let written = 0; written < (megabytes - 330) * 1e6;) {
      const texts = Array.from({ length: 100 }, () => document(1000 + next(9000)));
      for (const text of texts) await line(text);
      written += texts.reduce((sum, text) => sum + text.length, 0);
      progress.update(Math.round(written / 1e6));
    }
    await line(document(30e6));
  }
  const data = Array.from({ length: 60_000 }, () => document(5000));
  const columnData = [{ name: "text", data, type: "STRING" as const }];
  const buffer = parquetWriteBuffer({ columnData, rowGroupSize: data.length });
  const parquet = join(folder, "corpus.parquet");
  await Deno.writeFile(parquet, new Uint8Array(buffer));
  return [jsonl, parquet];
}

/** Prepares in a process of its own, whose memory is watched; kills it after some milliseconds. */
async function prepare(files: readonly string[], out: string, killAfter = Infinity) {
  const started = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--quiet", "--no-check", CLI, "prepare", ...files],
      ...["--out", join(folder, out), "--shard-tokens", "20000000", "--workers", "2"],
    ],
    stdout: "null",
  }).spawn();
  let [peak, isOver] = [0, false];
  const watching = (async () => {
    while (!isOver) {
      peak = Math.max(peak, await residentPeak(child.pid));
      if (performance.now() - started > killAfter) child.kill("SIGKILL");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  })().catch(() => {}); // it has ended
  const { success } = await child.status;
  isOver = true;
  await watching;
  const sizes = await Promise.all(files.map(async (file) => (await Deno.stat(file)).size));
  return {
    success,
    peak,
    seconds: (performance.now() - started) / 1000,
    bytes: sizes.reduce((sum, size) => sum + size, 0),
  };
}

async function residentPeak(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
}

async function hashes(out: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const { name } of Deno.readDir(join(folder, out))) {
    if (!name.endsWith(".npy")) continue;
    const hash = createHash("sha256").update(await Deno.readFile(join(folder, out, name)));
    found.set(name, hash.digest("hex"));
  }
  return new Map([...found].sort());
}
