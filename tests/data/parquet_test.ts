import assert from "node:assert/strict";
import { join } from "node:path";
import { parquetWriteBuffer } from "npm:hyparquet-writer@0.17.0";
import { type PageRun, ParquetTexts } from "../../src/data/parquet.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { assertSame } from "../support/compare.ts";
import { inFolder } from "../support/examples.ts";
import { madeUpDocuments, parquetOf } from "./prepare_files.ts";

async function runsOf(texts: ParquetTexts, bytes: number, firstRow = 0): Promise<PageRun[]> {
  return await Array.fromAsync(texts.runs({ bytes, firstRow }));
}

for (const codec of ["SNAPPY", "ZSTD", "GZIP", "UNCOMPRESSED"] as const) {
  Deno.test(`ParquetTexts gives all texts of row groups and pages when they are ${codec}`, async () => {
    const documents = madeUpDocuments(500);
    await inFolder(async (folder) => {
      const path = join(folder, "a.parquet");
      await Deno.writeFile(path, parquetOf(documents, { codec, rowGroupSize: 130 }));
      using texts = await ParquetTexts.open(path);
      assert.equal(texts.rows, 500);
      const runs = await runsOf(texts, 10_000);
      assert(runs.length > 8, `${runs.length} runs`);
      assert.deepEqual([...new Set(runs.map(({ group }) => group))], [0, 1, 2, 3]);
      const found: string[] = [];
      for (const run of runs) {
        assert.equal(run.firstRow, found.length);
        found.push(...await texts.read(run));
      }
      assertSame(found, documents);
      // From any run on, in another instance, as after a restart.
      using again = await ParquetTexts.open(path);
      const middle = runs[5];
      const rest = await runsOf(again, 10_000, middle.firstRow);
      assert.deepEqual(rest[0], middle);
      assert.deepEqual(
        await again.read(rest[0]),
        documents.slice(middle.firstRow).slice(0, middle.rows),
      );
    });
  });
}

Deno.test("ParquetTexts reads dictionaries and leaves out rows without a text", async () => {
  const few = ["one text", "another, which is longer than that", null, ""];
  const documents = Array.from({ length: 300 }, (_, i) => few[i * i % 4]);
  await inFolder(async (folder) => {
    const path = join(folder, "a.parquet");
    await Deno.writeFile(path, parquetOf(documents, { rowGroupSize: 90, pageSize: 200 }));
    using texts = await ParquetTexts.open(path);
    const runs = await runsOf(texts, 1);
    assert(runs.some(({ dictionary }) => dictionary), "a column of four texts has a dictionary");
    const found = (await Promise.all(runs.map((run) => texts.read(run)))).flat();
    assertSame(found, documents.filter((text) => text !== null));
  });
});

Deno.test("ParquetTexts finds its column when one inside of another has the same name", () =>
  inFolder(async (folder) => {
    const path = join(folder, "a.parquet");
    const optional = { repetition_type: "OPTIONAL" } as const;
    await Deno.writeFile(
      path,
      new Uint8Array(parquetWriteBuffer({
        schema: [
          { name: "root", num_children: 3 },
          { name: "meta", ...optional, num_children: 2 },
          { name: "source", ...optional, num_children: 1 },
          { name: "text", ...optional, type: "INT32" },
          { name: "text", ...optional, type: "INT32" },
          { name: "id", ...optional, type: "INT32" },
          { name: "text", ...optional, type: "BYTE_ARRAY", converted_type: "UTF8" },
        ],
        columnData: [
          { name: "meta", data: [{ source: { text: 1 }, text: 2 }] },
          { name: "id", data: [3] },
          { name: "text", data: ["a whale"] },
        ],
      })),
    );
    using texts = await ParquetTexts.open(path);
    const [run] = await runsOf(texts, 1000);
    assert.deepEqual(await texts.read(run), ["a whale"]);
  }));

Deno.test("ParquetTexts throws when the file is not what it should be", async () => {
  const bytes = parquetOf(madeUpDocuments(200), { rowGroupSize: 100 });
  await inFolder(async (folder) => {
    const path = join(folder, "a.parquet");
    const readAll = async (content: Uint8Array, column?: string) => {
      await Deno.writeFile(path, content);
      using texts = await ParquetTexts.open(path, column);
      for await (const run of texts.runs({ bytes: 5000 })) await texts.read(run);
    };
    await readAll(bytes);
    const refuses = (content: Uint8Array, message: RegExp, column?: string) =>
      assert.rejects(readAll(content, column), (error: Error) => {
        assert(error instanceof FileFormatError, String(error));
        assert.match(error.message, message);
        assert(error.message.startsWith(path));
        return true;
      });
    await refuses(bytes, /expected a column "body" but got id, text$/, "body");
    await refuses(bytes, /expected texts in column "id" but got INT32$/, "id");
    await refuses(bytes.slice(0, -1), /incomplete parquet file/);
    await refuses(
      bytes.slice(0, 5),
      /incomplete parquet file: expected at least 12 bytes but got 5 \(at byte 5\)$/,
    );
    await refuses(new TextEncoder().encode("a,b\n1,2\n3,4\n"), /incomplete parquet file/);
    // Damage anywhere is an error of this class or of no account, never another one.
    let state = 7;
    let refused = 0;
    for (let i = 0; i < 150; i++) {
      const damaged = bytes.slice();
      for (let k = 0; k < 3; k++) {
        state = state * 48271 % 2147483647;
        damaged[state % damaged.length] ^= 1 + (state >> 8) % 255;
      }
      await readAll(damaged).catch((error) => {
        assert(error instanceof FileFormatError, `${i}: ${error.stack}`);
        refused++;
      });
    }
    assert(refused > 20, `${refused} refused`);
  });
});
