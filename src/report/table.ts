/** A column of {@linkcode formatTable}. */
export interface TableColumn {
  /** Name of the rows' property. */
  key: string;
  /** Heading; the key by default. */
  title?: string | undefined;
  /** Digits after the point of the column's numbers; by default as many as each number needs. */
  digits?: number;
}

/** A row of {@linkcode formatTable}. */
export type TableRow = Readonly<Record<string, string | number | undefined>>;

/**
 * A table in Markdown that is readable as plain text, too: columns are aligned, numbers to the
 * right. A missing value leaves its cell empty. Line breaks within a cell become spaces.
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
