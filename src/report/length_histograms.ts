import { AXIS, COLOURS, INK, vegaPicture } from "./pictures.ts";

/** The lengths of one kind of sequence, such as all source sentences. */
export interface LengthPanel {
  /** The heading, such as `English`. */
  name: string;
  /** The length of each sequence: integers from 0. */
  lengths: ArrayLike<number>;
  /** The maximum length that is kept, drawn as a line; longer lengths are drawn faintly. */
  limit?: number | undefined;
}

/** Options of {@linkcode lengthHistogramsSvg}. */
export interface LengthHistogramsOptions {
  /** The histograms, drawn side by side. */
  panels: readonly LengthPanel[];
  /** The heading of the picture. */
  title?: string | undefined;
  /** The label of the horizontal axes. Default: `length in tokens`. */
  xLabel?: string;
  /** The label of the vertical axes. Default: `sequences`. */
  yLabel?: string;
  /** The width of each plotting area in pixels. Default: 720, or 410 if there are several panels. */
  width?: number;
  /** The height of each plotting area in pixels. Default: 280. */
  height?: number;
}

const MAX_BARS = 60;

/**
 * Draws how many sequences have which length, as an SVG with a histogram for each kind of sequence, and how many of
 * them a limit keeps. The picture follows the reader's colour scheme, light or dark.
 *
 * @throws {RangeError} where a panel has no lengths, or one is not an integer from 0
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { lengthHistogramsSvg } from "@dinograd/dinograd";
 *
 * const svg = await lengthHistogramsSvg({
 *   panels: [
 *     { name: "English", lengths: [3, 4, 4, 9], limit: 8 },
 *     { name: "French", lengths: [4, 4, 6, 11], limit: 10 },
 *   ],
 * });
 * assert.match(svg, />limit 8 keeps 75%</);
 * ```
 */
export async function lengthHistogramsSvg(options: LengthHistogramsOptions): Promise<string> {
  const { panels, title, xLabel = "length in tokens", yLabel = "sequences" } = options;
  const { width = panels.length > 1 ? 410 : 720, height = 280 } = options;
  if (panels.length === 0) {
    throw new RangeError("lengthHistogramsSvg: expected at least one panel but got none");
  }
  return await vegaPicture({
    title,
    defaultTitle: "Sequence lengths",
    panels: panels.map((panel, i) =>
      panelOf(panel, { xLabel, yLabel, width, height, colour: COLOURS[i % COLOURS.length]! })
    ),
  });
}

/** A bar: the sequences of lengths from `begin` up to, but not including, `end`. */
interface Bar {
  begin: number;
  end: number;
  count: number;
  kept: boolean;
}

function barsOf({ name, lengths, limit = Infinity }: LengthPanel): Bar[] {
  if (lengths.length === 0) {
    throw new RangeError(
      `lengthHistograms: ${JSON.stringify(name)}: expected lengths to draw but got none`,
    );
  }
  let longest = 0;
  for (let i = 0; i < lengths.length; i++) {
    if (!Number.isInteger(lengths[i]) || lengths[i]! < 0) {
      throw new RangeError(
        `lengthHistograms: ${JSON.stringify(name)}: expected integers of 0 or more but got ${
          lengths[i]
        } at ${i}`,
      );
    }
    longest = Math.max(longest, lengths[i]!);
  }
  const width = niceWidth((longest + 1) / MAX_BARS);
  const bars = Array.from({ length: Math.floor(longest / width) + 1 }, (_, i): Bar => ({
    begin: i * width,
    end: (i + 1) * width,
    count: 0,
    kept: i * width <= limit,
  }));
  for (let i = 0; i < lengths.length; i++) bars[Math.floor(lengths[i]! / width)]!.count++;
  return bars;
}

/** Returns the smallest of 1, 2, 5, 10, 20, 50 ... that is not below `width`. */
function niceWidth(width: number): number {
  for (let power = 1;; power *= 10) {
    for (const digit of [1, 2, 5]) if (digit * power >= width) return digit * power;
  }
}

function keptPart({ lengths, limit = Infinity }: LengthPanel): string {
  let kept = 0;
  for (let i = 0; i < lengths.length; i++) if (lengths[i]! <= limit) kept++;
  // Never "100%" unless it is all of them.
  const percent = Math.floor(kept / lengths.length * 1000) / 10;
  return `limit ${limit} keeps ${percent}%`;
}

function panelOf(
  panel: LengthPanel,
  { xLabel, yLabel, width, height, colour }: {
    xLabel: string;
    yLabel: string;
    width: number;
    height: number;
    colour: string;
  },
): unknown {
  const { name, limit } = panel;
  const bars = barsOf(panel);
  const end = Math.max(bars[bars.length - 1]!.end, limit === undefined ? 0 : limit + 1);
  // A length is drawn at the middle of its bar, and a limit after the last one that it keeps.
  const middle = bars[0]!.end === 1 ? 0.5 : 0;
  // The limit's label goes after it, where bars are low, if there is enough room.
  const isBeyond = limit !== undefined && (1 - (limit + 1) / end) * width > 150;
  return {
    type: "group",
    encode: { enter: { width: { value: width }, height: { value: height } } },
    title: {
      text: name,
      color: INK,
      fontSize: 13,
      fontWeight: "normal",
      anchor: "start",
      offset: 10,
    },
    data: [{ name: "bars", values: bars }],
    scales: [
      { name: "x", range: [0, width], domain: [-middle, end - middle], zero: false, nice: false },
      { name: "y", range: [height, 0], domain: { data: "bars", field: "count" }, nice: true },
    ],
    axes: [
      {
        orient: "bottom",
        scale: "x",
        title: xLabel,
        tickCount: 8,
        tickMinStep: 1,
        ...AXIS,
        grid: false,
      },
      {
        orient: "left",
        scale: "y",
        gridScale: "x",
        title: yLabel,
        tickCount: 6,
        tickMinStep: 1,
        format: "~s",
        ...AXIS,
      },
    ],
    marks: [
      {
        type: "rect",
        from: { data: "bars" },
        encode: {
          enter: {
            x: { scale: "x", signal: `datum.begin - ${middle}`, offset: 0.5 },
            x2: { scale: "x", signal: `datum.end - ${middle}`, offset: -0.5 },
            y: { scale: "y", field: "count" },
            y2: { scale: "y", value: 0 },
            fill: { value: colour },
            fillOpacity: { signal: "datum.kept ? 1 : 0.35" },
          },
        },
      },
      ...limit === undefined ? [] : limitMarks(panel, limit + 1 - middle, height, isBeyond),
    ],
  };
}

/**
 * Returns Vega marks for the line at `x` behind the last length that is kept, and its label, after or before the line.
 */
function limitMarks(panel: LengthPanel, x: number, height: number, isBeyond: boolean): unknown[] {
  return [
    {
      type: "rule",
      encode: {
        enter: {
          x: { scale: "x", value: x },
          y: { value: 0 },
          y2: { value: height },
          stroke: { value: INK },
          strokeDash: { value: [4, 3] },
        },
      },
    },
    {
      type: "text",
      encode: {
        enter: {
          x: { scale: "x", value: x, offset: isBeyond ? 6 : -6 },
          y: { value: 12 },
          align: { value: isBeyond ? "left" : "right" },
          fontSize: { value: 12 },
          fill: { value: INK },
          text: { value: keptPart(panel) },
        },
      },
    },
  ];
}
