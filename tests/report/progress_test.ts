// The numbers of progress, by a clock that the test sets.
import assert from "node:assert/strict";
import cliProgress from "npm:cli-progress@3.12.0";
import { openProgress } from "../../src/report/progress.ts";
import { TimeLeft } from "../../src/report/time_left.ts";

/** Runs `body` with a clock that shows the milliseconds it sets. */
async function withClock(body: (set: (ms: number) => void) => Promise<void>): Promise<void> {
  let now = 5000;
  Object.defineProperty(performance, "now", { value: () => now, configurable: true });
  try {
    await body((ms) => now = 5000 + ms);
  } finally {
    delete (performance as Partial<Performance>).now; // what it inherits is back
  }
}

Deno.test("openProgress() writes lines as often as it is told, with share and time left", () =>
  withClock(async (set) => {
    const lines: string[] = [];
    using progress = await openProgress({
      ...{ label: "read", total: 8, unit: "files", lineEvery: 10, terminal: false },
      writeLine: (line) => lines.push(line),
    });
    for (
      const [ms, done] of [
        [0, 0],
        [9_999, 1],
        [10_000, 1],
        [15_000, 2],
        [19_999, 3],
        [20_000, 4],
        [42_000, 7],
        [51_000, 8],
        [52_000, 8],
      ]
    ) {
      set(ms);
      progress.update(done, done === 7 ? "nearly" : "");
    }
    assert.deepEqual(lines, [
      "read 12% | 1/8 files | 1 m 10 s left",
      "read 50% | 4/8 files | 20.0 s left",
      "read 87% | 7/8 files | 6.0 s left nearly",
      "read 100% | 8/8 files | 0 ms left",
    ]);
  }));

Deno.test("openProgress() counts only what it has seen done, as in a resumed run", () =>
  withClock(async (set) => {
    const lines: string[] = [];
    using progress = await openProgress({
      ...{ label: "train", total: 100, from: 80, lineEvery: 1, terminal: false },
      writeLine: (line) => lines.push(line),
    });
    set(10_000);
    progress.update(81);
    assert.deepEqual(lines, ["train 81% | 81/100 | 3 m 10 s left"]);
  }));

Deno.test("TimeLeft goes by the speed of late, whatever was slow or idle before", () =>
  withClock((set) => {
    const timeLeft = new TimeLeft(8, 4);
    assert.equal(timeLeft.after(8, 100), NaN);
    const seconds = [7000, 7140, 7280, 7420, 7560]; // a slow first one, then one in 140 s
    const left = seconds.map((at, i) => {
      set(1000 * at);
      return timeLeft.after(9 + i, 100);
    });
    assert.deepEqual([left[0], left.at(-1)], [91 * 7000, 87 * 140]);
    return Promise.resolve();
  }));

Deno.test("openProgress() is done at once where there is nothing to do", () =>
  withClock(async (set) => {
    const lines: string[] = [];
    using progress = await openProgress({
      ...{ label: "read", total: 0, lineEvery: 1, terminal: false },
      writeLine: (line) => lines.push(line),
    });
    set(1000);
    progress.update(0);
    assert.deepEqual(lines, ["read 100% | 0/0 | ? left"]);
  }));

Deno.test("openProgress() draws the same numbers on a terminal, and takes the bar away once", () =>
  withClock(async (set) => {
    const drawn: string[] = [];
    let stops = 0;
    const bar = cliProgress.SingleBar.prototype;
    const own = { start: bar.start, update: bar.update, stop: bar.stop };
    type Drawn = { options: { format: string } };
    const draw = (self: unknown, payload: Record<string, unknown>) => {
      const { format } = (self as Drawn).options;
      drawn.push(format.replaceAll(/\{(\w+)\}/g, (_, key) => String(payload[key] ?? "")).trim());
    };
    bar.start = function (
      this: unknown,
      total: number,
      value: number,
      payload: Record<string, unknown>,
    ) {
      draw(this, { ...payload, percentage: Math.floor(100 * value / total) });
    };
    bar.update = function (this: unknown, value: number, payload: Record<string, unknown>) {
      draw(this, { ...payload, percentage: value });
    } as typeof bar.update;
    bar.stop = () => void stops++;
    try {
      const progress = await openProgress({
        label: "step",
        total: 2500,
        unit: "B",
        terminal: true,
      });
      set(30_000);
      progress.update(500, "| loss 3.2");
      set(60_000);
      progress.update(2000);
      progress.stop();
      progress[Symbol.dispose]();
    } finally {
      Object.assign(bar, own);
    }
    assert.deepEqual(drawn, [
      "step  0% | 0/2.5k B | ? left",
      "step  500% | 500/2.5k B | 2 m 00 s left | loss 3.2",
      "step  2000% | 2k/2.5k B | 15.0 s left",
    ]);
    assert.equal(stops, 1);
  }));
