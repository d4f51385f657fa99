/**
 * Formats a duration in seconds with constant precision: `250 ms`, `12.3 s`, `4 m 05 s`, `2 h 03 m`, `3 d 04 h`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { formatDuration } from "@dinograd/dinograd";
 *
 * assert.equal(formatDuration(0.25), "250 ms");
 * assert.equal(formatDuration(245), "4 m 05 s");
 * ```
 */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "?";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const parts = (large: number, small: number, a: string, b: string) => {
    const count = Math.round(seconds / small);
    const ratio = large / small;
    const rest = String(count % ratio).padStart(2, "0");
    return `${Math.floor(count / ratio)} ${a} ${rest} ${b}`;
  };
  if (seconds < 3599.5) return parts(60, 1, "m", "s");
  if (seconds < 86370) return parts(3600, 60, "h", "m");
  return parts(86400, 3600, "d", "h");
}

/**
 * Formats a count to three digits with a metric suffix: `950`, `1.23k`, `12.3M`, `124M`, `1.5B`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { formatCount } from "@dinograd/dinograd";
 *
 * assert.equal(formatCount(124_475_904), "124M");
 * ```
 */
export function formatCount(count: number): string {
  return shorten(count, 1000, ["", "k", "M", "B", "T"]);
}

/**
 * Formats a size in bytes to three digits: `512 B`, `1.5 KiB`, `147 MiB`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { formatBytes } from "@dinograd/dinograd";
 *
 * assert.equal(formatBytes(50_304 * 768 * 4), "147 MiB");
 * ```
 */
export function formatBytes(bytes: number): string {
  return shorten(bytes, 1024, [" B", " KiB", " MiB", " GiB", " TiB"]);
}

/**
 * Formats a learning rate as C does with `%.5e`: `8.39161e-07`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { formatRate } from "@dinograd/dinograd";
 *
 * assert.equal(formatRate(6e-5), "6.00000e-05");
 * ```
 */
export function formatRate(rate: number): string {
  return rate.toExponential(5).replace(/e([+-])(\d)$/, "e$10$2");
}

/**
 * Formats the output of a language model for a log: the prompt in brackets, line breaks as they are, and other control
 * characters, which a terminal would obey, as their codes.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { formatSample } from "@dinograd/dinograd";
 *
 * assert.equal(formatSample(" fair lord,\nwell met\x07", "My"), "[My] fair lord,\nwell met\\x07");
 * assert.equal(formatSample("ROMEO:"), "ROMEO:");
 * ```
 */
export function formatSample(text: string, prompt?: string): string {
  const visible = text.trimEnd().replaceAll(/\r\n?/g, "\n")
    // deno-lint-ignore no-control-regex -- terminals act on them
    .replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, escapedControl);
  return (prompt ? `[${prompt}]` : "") + visible;
}

/** Returns a control character as its code, `\\x07`. */
export function escapedControl(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

function shorten(value: number, base: number, suffixes: string[]): string {
  if (!Number.isFinite(value)) return String(value);
  let size = Math.abs(value);
  let suffix = 0;
  // 999.5 would be shown as 1000.
  while (size >= Math.min(base, 999.5) && suffix < suffixes.length - 1) {
    size /= base;
    suffix++;
  }
  const digits = Number.isInteger(size) || size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
  let text = size.toFixed(digits);
  if (text.includes(".")) text = text.replace(/\.?0+$/, "");
  return `${value < 0 ? "-" : ""}${text}${suffixes[suffix]}`;
}

/** A column of {@linkcode formatTable}. */
export interface TableColumn {
  /** The property of the rows. */
  key: string;
  /** The heading. Default: the key. */
  title?: string | undefined;
  /** The number of decimals of the column's numbers. Default: as many as each number needs. */
  digits?: number;
}

/** A row of {@linkcode formatTable}. */
export type TableRow = Readonly<Record<string, string | number | undefined>>;

/**
 * Formats a table in Markdown that is also readable as plain text: columns are aligned, numbers to the right. A missing
 * value leaves its cell empty. Line breaks within a cell become spaces.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { formatTable } from "@dinograd/dinograd";
 *
 * const rows = [{ model: "GPT-2", loss: 3.4189 }, { model: "LLaMA-1", loss: 6.8 }];
 * const table = formatTable(rows, [{ key: "model" }, { key: "loss", title: "val loss", digits: 2 }]);
 * assert.equal(table.split("\n")[2], "| GPT-2   |     3.42 |");
 * ```
 */
export function formatTable(rows: readonly TableRow[], columns: readonly TableColumn[]): string {
  const isNumeric = columns.map(({ key }) => {
    const values = rows.map((row) => row[key]).filter((value) => value !== undefined);
    return values.length > 0 && values.every((value) => typeof value === "number");
  });
  const heads = columns.map(({ key, title = key }) => cellText(title));
  const cells = rows.map((row) => columns.map(({ key, digits }) => cellText(row[key], digits)));
  const widths = columns.map((_, i) =>
    Math.max(3, ...[heads, ...cells].map((cells) => widthOf(cells[i]!)))
  );
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  const aligned = (cells: string[]) =>
    line(cells.map((cell, i) => {
      const space = " ".repeat(widths[i]! - widthOf(cell));
      return isNumeric[i] ? space + cell : cell + space;
    }));
  const rule = line(
    widths.map((width, i) => isNumeric[i] ? "-".repeat(width - 1) + ":" : "-".repeat(width)),
  );
  return [aligned(heads), rule, ...cells.map(aligned)].join("\n");
}

function cellText(value: string | number | undefined, digits?: number): string {
  if (value === undefined) return "";
  if (typeof value === "string") return value.replaceAll(/\s+/g, " ").replaceAll("|", "\\|").trim();
  return digits === undefined ? String(value) : value.toFixed(digits);
}

function widthOf(text: string): number {
  return [...text].length;
}
