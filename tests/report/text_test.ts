import assert from "node:assert/strict";
import { join } from "node:path";
import { formatBytes, formatCount, formatDuration, formatTable } from "../../src/report/format.ts";
import { openProgress } from "../../src/report/progress.ts";
import { TextLog } from "../../src/report/text_log.ts";

Deno.test("formatDuration() stays readable when durations are short or long", () => {
  const cases: [number, string][] = [
    [0, "0 ms"],
    [0.0123, "12 ms"],
    [0.9996, "1.0 s"],
    [59.94, "59.9 s"],
    [59.96, "1 m 00 s"],
    [245, "4 m 05 s"],
    [3599.6, "1 h 00 m"],
    [7384, "2 h 03 m"],
    [86399, "1 d 00 h"],
    [273600, "3 d 04 h"],
    [NaN, "?"],
    [Infinity, "?"],
    [-1, "?"],
  ];
  for (const [seconds, text] of cases) assert.equal(formatDuration(seconds), text);
});

Deno.test("formatCount() and formatBytes() keep three digits when numbers grow", () => {
  const counts: [number, string][] = [
    [0, "0"],
    [7, "7"],
    [950, "950"],
    [999, "999"],
    [999.7, "1k"],
    [1234, "1.23k"],
    [12_345, "12.3k"],
    [999_950, "1M"],
    [124_475_904, "124M"],
    [1.5e9, "1.5B"],
    [5e15, "5000T"],
    [-1500, "-1.5k"],
    [0.25, "0.25"],
    [NaN, "NaN"],
  ];
  for (const [count, text] of counts) assert.equal(formatCount(count), text);
  assert.equal(formatBytes(512), "512 B");
  assert.equal(formatBytes(1536), "1.5 KiB");
  assert.equal(formatBytes(1023), "1 KiB");
  assert.equal(formatBytes(128 * 2 ** 20), "128 MiB");
});

Deno.test("formatTable() aligns its columns when cells differ in length", () => {
  const rows = [
    { model: "GPT-2", loss: 2.0451, parameters: 7_388_160 },
    { model: "a|b\n ü", loss: 10, note: "x" },
    { model: "LLaMA-1", loss: NaN, parameters: 12 },
  ];
  const columns = [
    { key: "model" },
    { key: "loss", title: "val loss", digits: 2 },
    { key: "parameters" },
    { key: "note", title: "" },
  ];
  assert.deepEqual(formatTable(rows, columns).split("\n"), [
    "| model   | val loss | parameters |     |",
    "| ------- | -------: | ---------: | --- |",
    "| GPT-2   |     2.05 |    7388160 |     |",
    "| a\\|b ü  |    10.00 |            | x   |",
    "| LLaMA-1 |      NaN |         12 |     |",
  ]);
  assert.equal(formatTable([], [{ key: "a" }]), "| a   |\n| --- |");
});

Deno.test("TextLog appends when a run is restarted after a half-written line", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "logs", "log.txt");
    const echoed: string[] = [];
    {
      using log = await TextLog.open(path, { echo: (line) => echoed.push(line) });
      log.line("step 1 | loss 10.8");
      assert.equal(await Deno.readTextFile(path), "step 1 | loss 10.8\n");
      log.line("zwei ü");
    }
    {
      using log = await TextLog.open(path);
      log.line("step 2");
      log.close();
      assert.throws(() => log.line("x"), /expected an open file/);
    }
    await Deno.writeTextFile(path, "half a li", { append: true });
    {
      using log = await TextLog.open(path);
      log.line("step 3");
    }
    const wanted = "step 1 | loss 10.8\nzwei ü\nstep 2\nhalf a li\nstep 3\n";
    assert.equal(await Deno.readTextFile(path), wanted);
    assert.deepEqual(echoed, ["step 1 | loss 10.8", "zwei ü"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("openProgress() writes nothing but the lines asked for when there is no terminal", async () => {
  const lines: string[] = [];
  const options = { label: "data", total: 2000, unit: "B", terminal: false };
  const writeLine = (line: string) => lines.push(line);
  {
    using silent = await openProgress({ ...options, writeLine });
    silent.update(1000);
  }
  assert.deepEqual(lines, []);
  using spoken = await openProgress({ ...options, writeLine, lineEvery: 0 });
  spoken.update(0);
  spoken.update(2000, "done");
  assert.deepEqual(lines, ["data 0% | 0/2k B | ? left", "data 100% | 2k/2k B | 0 ms left done"]);
});

Deno.test("openProgress() loads and stops its bar when told that there is a terminal", async () => {
  // Under a test there is none, so the library draws nothing; the calls must do no harm.
  using bar = await openProgress({ label: "step", total: 4, terminal: true });
  for (let done = 0; done <= 4; done++) bar.update(done, "note");
  bar.stop();
  bar.stop();
});
