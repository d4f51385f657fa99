/**
 * Summing up and printing kernel times.
 *
 * @module
 */
import type { KernelTiming } from "./device.ts";

/** Sums up launches per kernel, the longest first. */
export class TimingTotals {
  #totals = new Map<string, { calls: number; milliseconds: number }>();

  /** Adds one launch. */
  add(kernel: string, milliseconds: number): void {
    const total = this.#totals.get(kernel);
    if (!total) {
      this.#totals.set(kernel, { calls: 1, milliseconds });
      return;
    }
    total.calls++;
    total.milliseconds += milliseconds;
  }

  /** The times of all kernels, the longest first. */
  list(): KernelTiming[] {
    let all = 0;
    for (const { milliseconds } of this.#totals.values()) all += milliseconds;
    return [...this.#totals]
      .map(([kernel, { calls, milliseconds }]): KernelTiming => ({
        kernel,
        calls,
        milliseconds,
        share: all > 0 ? milliseconds / all : 0,
      }))
      .sort((a, b) => b.milliseconds - a.milliseconds);
  }
}

/**
 * Formats timings as a table: kernel, calls, milliseconds, milliseconds per call and share of the total, with a last
 * line for all kernels together.
 */
export function formatTimings(timings: readonly KernelTiming[]): string {
  const calls = timings.reduce((sum, timing) => sum + timing.calls, 0);
  const milliseconds = timings.reduce((sum, timing) => sum + timing.milliseconds, 0);
  const rows = [["kernel", "calls", "ms", "ms/call", "share"]];
  const all: KernelTiming = { kernel: "all", calls, milliseconds, share: calls > 0 ? 1 : 0 };
  for (const timing of [...timings, all]) {
    rows.push([
      timing.kernel,
      String(timing.calls),
      timing.milliseconds.toFixed(2),
      timing.calls > 0 ? (timing.milliseconds / timing.calls).toFixed(4) : "-",
      `${(timing.share * 100).toFixed(1)} %`,
    ]);
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  ")
  );
  lines.splice(1, 0, widths.map((width) => "-".repeat(width)).join("  "));
  return lines.join("\n");
}
