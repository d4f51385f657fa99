/**
 * How fast a corpus becomes token shards: parquet (snappy) and JSONL of made-up documents out of Moby Dick's words, with one
 * thread and with all, in megabytes of text a second; and the most memory that the process had.
 *
 * `deno run -A bench/compare_prepare.ts`.
 */
import { parquetWriteBuffer } from "npm:hyparquet-writer@0.17.0";
import { join } from "node:path";
import { formatBytes, loadMobyDick, prepareCorpus } from "../mod.ts";
import { formatTable, median } from "./peers/contender.ts";

const MEGABYTES = 24, ROUNDS = 3;
const cores = Math.min(4, navigator.hardwareConcurrency);

const folder = await Deno.makeTempDir({ prefix: "dinograd-bench" });
try {
  const documents = await madeUpDocuments(MEGABYTES * 1e6);
  const bytes = documents.reduce((sum, text) => sum + text.length, 0);
  const jsonl = join(folder, "corpus.jsonl"), parquet = join(folder, "corpus.parquet");
  await Deno.writeTextFile(jsonl, documents.map((text) => JSON.stringify({ text })).join("\n"));
  const columnData = [{ name: "text", data: documents, type: "STRING" as const }];
  await Deno.writeFile(parquet, new Uint8Array(parquetWriteBuffer({ columnData })));

  const rows = [["", "threads", "MB/s", "MB/s a thread"]];
  for (const file of [jsonl, parquet]) {
    for (const workers of new Set([1, cores])) {
      const seconds: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const out = join(folder, `${workers}-${round}-${file.endsWith("t")}`);
        const started = performance.now();
        await prepareCorpus([file], out, { workers, tokensPerShard: 1e6 });
        seconds.push((performance.now() - started) / 1000);
      }
      const rate = bytes / 1e6 / median(seconds);
      rows.push([
        file.split(".").at(-1)!,
        String(workers),
        rate.toFixed(1),
        (rate / workers).toFixed(1),
      ]);
    }
  }
  console.log(formatTable(rows));
  const status = Deno.build.os === "linux" ? await Deno.readTextFile("/proc/self/status") : "";
  const [, peak] = /VmHWM:\s+(\d+) kB/.exec(status) ?? [];
  if (peak) {
    console.log(
      `the process had ${formatBytes(Number(peak) * 1024)} at most, the documents included`,
    );
  }
} finally {
  await Deno.remove(folder, { recursive: true });
}

/** Documents of Moby Dick's words in new orders, as varied as other prose and nobody's text. */
async function madeUpDocuments(bytes: number): Promise<string[]> {
  const words = (await loadMobyDick()).split(/(?<=\s)/);
  const documents: string[] = [];
  let state = 1;
  const next = (below: number) => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % below;
  for (let made = 0; made < bytes;) {
    let text = "";
    const length = 500 + next(6000);
    while (text.length < length) {
      const at = next(words.length - 8);
      text += words.slice(at, at + 2 + next(6)).join("");
    }
    documents.push(text);
    made += text.length;
  }
  return documents;
}
