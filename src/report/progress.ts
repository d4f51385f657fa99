// The progress bar. The underlying library is used only here, and is fetched only if there is a terminal to draw on.
import { importLate } from "../io/late_import.ts";
import { formatCount, formatDuration } from "./format.ts";
import { TimeLeft } from "./time_left.ts";

/** Options of {@linkcode openProgress}. */
export interface ProgressOptions {
  /** What is being done, shown before the bar. */
  label: string;
  /** The total number of units. */
  total: number;
  /** The number of units that were done before, as in a resumed run; the time left is that of the others. Default: 0. */
  from?: number;
  /** What is counted, such as `tokens`. */
  unit?: string;
  /** Without a terminal: the seconds between plain lines. Default: none are written. */
  lineEvery?: number;
  /** Whether there is a terminal. Default: whether standard error is one. */
  terminal?: boolean;
  /** Writes a plain line. Default: to standard error. */
  writeLine?: (line: string) => void;
}

/** Something in progress. */
export interface Progress extends Disposable {
  /** Reports how many units are done; cheap enough to call often. */
  update(done: number, note?: string): void;
  /** Removes the bar; a second call does nothing. */
  stop(): void;
}

/**
 * Shows a bar on standard error while something is in progress, and removes it at the end. If standard error is not a
 * terminal (a file, a pipe), nothing is drawn; with `lineEvery`, a plain line is written now and then.
 */
export async function openProgress(options: ProgressOptions): Promise<Progress> {
  const terminal = options.terminal ?? Deno.stderr.isTerminal();
  return terminal ? await openBar(options) : openLines(options);
}

async function openBar({ label, total, from, unit = "" }: ProgressOptions): Promise<Progress> {
  const { default: cliProgress } = await importLate<typeof import("npm:cli-progress@3.12.0")>(
    "npm:cli-progress@3.12.0",
  );
  const bar = new cliProgress.SingleBar({
    format: `${label} {bar} {percentage}% | {done}/{whole} ${unit} | {left} left {note}`,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    barsize: 24,
    clearOnComplete: true,
    hideCursor: true,
    // A device that blocks the thread starves the timer, so draw on update, too.
    synchronousUpdate: true,
  });
  const timeLeft = new TimeLeft(from);
  const payload = (done: number, note: string) => ({
    done: formatCount(done),
    whole: formatCount(total),
    left: formatDuration(timeLeft.after(done, total)),
    note,
  });
  bar.start(total, from ?? 0, payload(from ?? 0, ""));
  let stopped = false;
  const stop = () => {
    if (!stopped) bar.stop();
    stopped = true;
  };
  return {
    update: (done, note = "") => bar.update(done, payload(done, note)),
    stop,
    [Symbol.dispose]: stop,
  };
}

function openLines(options: ProgressOptions): Progress {
  const { label, total, from, unit = "", lineEvery = Infinity } = options;
  const writeLine = options.writeLine ?? ((line) => console.error(line));
  const timeLeft = new TimeLeft(from);
  let last = performance.now();
  return {
    update(done, note = "") {
      const now = performance.now();
      const left = formatDuration(timeLeft.after(done, total));
      if (now - last < lineEvery * 1000) return;
      last = now;
      const percent = total > 0 ? Math.floor(100 * done / total) : 100;
      const count = `${formatCount(done)}/${formatCount(total)} ${unit}`.trimEnd();
      writeLine(`${label} ${percent}% | ${count} | ${left} left ${note}`.trimEnd());
    },
    stop() {},
    [Symbol.dispose]() {},
  };
}
