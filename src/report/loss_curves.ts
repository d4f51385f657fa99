// Loss curves as an SVG, drawn by Vega: it needs no browser, no canvas and no permission. It is used
// here and nowhere else, and is fetched only when a picture is drawn.

/** One curve of a picture. */
export interface LossSeries {
  /** Name in the legend. */
  name: string;
  /** Training step of each value, ascending. */
  steps: ArrayLike<number>;
  /** The values, as many as `steps`; where one is not finite, the line has a gap. */
  values: ArrayLike<number>;
  /**
   * How it is drawn: `train` as a faint line with a smoothed one over it, `validation` as a line
   * through points. `train` by default.
   */
  kind?: "train" | "validation";
}

/** Options of {@linkcode lossCurvesSvg}. */
export interface LossCurvesOptions {
  /** The curves; each has its own colour. */
  series: readonly LossSeries[];
  /** Heading of the picture. */
  title?: string;
  /** Text at the horizontal axis; `step` by default. */
  xLabel?: string;
  /** Text at the vertical axis; `loss` by default. */
  yLabel?: string;
  /** Width of the plotting area in pixels; 720 by default. */
  width?: number;
  /** Height of the plotting area in pixels; 380 by default. */
  height?: number;
}

// Distinct to colour-blind eyes, and readable on white as on near-black.
const COLOURS = ["#2f81d6", "#e0761a", "#1a9d74", "#c25a9c", "#8a7fd6", "#a8890f"];
const MAX_POINTS = 2000;

/** What stands out against a light background, and what takes its place on a dark one. */
const THEME = {
  background: ["#ffffff", "#0d1117"],
  text: ["#24292f", "#d0d7de"],
  line: ["#8c959f", "#6e7681"],
  grid: ["#e6e9ec", "#262c34"],
};

/**
 * Draws loss curves as an SVG with labelled axes and a legend, readable in light and in dark: it
 * follows the reader's colour scheme.
 *
 * @throws {RangeError} where a series has not as many steps as values, or there is nothing to draw
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { lossCurvesSvg } from "@dinograd/dinograd";
 *
 * const svg = await lossCurvesSvg({
 *   title: "GPT-2 on Moby Dick",
 *   series: [
 *     { name: "train", steps: [1, 2, 3], values: [10.8, 9.1, 8.2] },
 *     { name: "validation", steps: [1, 3], values: [10.8, 8.5], kind: "validation" },
 *   ],
 * });
 * assert.match(svg, /^<svg /);
 * ```
 */
export async function lossCurvesSvg(options: LossCurvesOptions): Promise<string> {
  const points = options.series.flatMap(pointsOf);
  if (points.length === 0) throw new RangeError("Expected at least one finite value to draw");
  const vega = await import("npm:vega@6.4.0");
  const view = new vega.View(vega.parse(specification(options, points)), { renderer: "none" });
  try {
    return withTheme(await view.toSVG(), options.title ?? "Loss curves");
  } finally {
    view.finalize();
  }
}

/**
 * The moving average that the picture draws over a training loss: the mean of up to `radius` values
 * to either side, so that the line does not lag behind the loss. At the beginning, where a loss
 * falls fast, there are as few after as before. Values that are not finite stay as gaps.
 */
export function smooth(values: ArrayLike<number>, radius: number): Float64Array {
  const sums = new Float64Array(values.length + 1);
  const counts = new Uint32Array(values.length + 1);
  for (let i = 0; i < values.length; i++) {
    const finite = Number.isFinite(values[i]);
    sums[i + 1] = sums[i] + (finite ? values[i] : 0);
    counts[i + 1] = counts[i] + (finite ? 1 : 0);
  }
  return Float64Array.from(values, (value, i) => {
    if (!Number.isFinite(value)) return NaN;
    const reach = Math.min(radius, i);
    const [begin, end] = [i - reach, Math.min(i + reach + 1, values.length)];
    return (sums[end] - sums[begin]) / (counts[end] - counts[begin]);
  });
}

/** A point as Vega gets it; `layer` tells how its line is drawn. */
interface Point {
  series: string;
  layer: "raw" | "line" | "dots";
  step: number;
  value: number;
  /** False where the line has a gap. */
  finite: boolean;
}

function pointsOf({ name, steps, values, kind = "train" }: LossSeries): Point[] {
  if (steps.length !== values.length) {
    throw new RangeError(
      `Series ${JSON.stringify(name)} has ${steps.length} steps but ${values.length} values`,
    );
  }
  if (!Array.from(values).some(Number.isFinite)) return [];
  const points = (layer: Point["layer"], values: ArrayLike<number>) =>
    thinOut(values).map((i): Point => ({
      series: name,
      layer,
      step: steps[i],
      value: Number.isFinite(values[i]) ? values[i] : 0,
      finite: Number.isFinite(values[i]),
    }));
  if (kind === "validation") return [...points("line", values), ...points("dots", values)];
  // A twentieth of the run is averaged; a short run needs no smoothing.
  const radius = Math.floor(values.length / 40);
  if (radius === 0) return points("line", values);
  return [...points("raw", values), ...points("line", smooth(values, radius))];
}

/** Indices of at most about `MAX_POINTS` values: lowest and highest of each stretch. */
function thinOut(values: ArrayLike<number>): number[] {
  if (values.length <= MAX_POINTS) return Array.from(values, (_, i) => i);
  const kept = new Set<number>([0, values.length - 1]);
  const stretches = MAX_POINTS / 2;
  for (let s = 0; s < stretches; s++) {
    const begin = Math.floor(s * values.length / stretches);
    const end = Math.floor((s + 1) * values.length / stretches);
    let low = begin;
    let high = begin;
    for (let i = begin; i < end; i++) {
      if (!Number.isFinite(values[i])) kept.add(low = high = i);
      if (values[i] < values[low]) low = i;
      if (values[i] > values[high]) high = i;
    }
    kept.add(low).add(high);
  }
  return [...kept].sort((a, b) => a - b);
}

// deno-lint-ignore no-explicit-any -- Vega's own type of a specification does not take literals
function specification(options: LossCurvesOptions, points: Point[]): any {
  const { series, title, xLabel = "step", yLabel = "loss", width = 720, height = 380 } = options;
  const names = series.map(({ name }) => name);
  const [background, text, line, grid] = Object.values(THEME).map(([light]) => light);
  const axis = {
    grid: true,
    gridColor: grid,
    domainColor: line,
    tickColor: line,
    labelColor: text,
    titleColor: text,
    labelFontSize: 12,
    titleFontSize: 13,
    titleFontWeight: "normal",
    titlePadding: 10,
  };
  const layer = (name: Point["layer"], opacity: number, strokeWidth: number) => ({
    type: "group",
    clip: true,
    from: {
      facet: { name: `${name}_of_series`, data: name, groupby: "series" },
    },
    encode: { enter: { width: { signal: "width" }, height: { signal: "height" } } },
    marks: [{
      type: "line",
      from: { data: `${name}_of_series` },
      encode: {
        enter: {
          x: { scale: "x", field: "step" },
          y: { scale: "y", field: "value" },
          defined: { field: "finite" },
          stroke: { scale: "colour", field: "series" },
          strokeOpacity: { value: opacity },
          strokeWidth: { value: strokeWidth },
          strokeJoin: { value: "round" },
        },
      },
    }],
  });
  return {
    width,
    height,
    padding: 16,
    background,
    config: { text: { font: "sans-serif" } },
    title: title &&
      { text: title, color: text, fontSize: 15, fontWeight: 600, anchor: "start", offset: 14 },
    data: [
      { name: "points", values: points },
      ...(["raw", "line", "dots"].map((layer) => ({
        name: layer,
        source: "points",
        transform: [{ type: "filter", expr: `datum.layer === '${layer}'` }],
      }))),
      { name: "finite", source: "points", transform: [{ type: "filter", expr: "datum.finite" }] },
    ],
    scales: [
      { name: "x", range: "width", domain: { data: "points", field: "step" }, zero: false },
      {
        name: "y",
        range: "height",
        domain: { data: "finite", field: "value" },
        zero: false,
        nice: true,
      },
      { name: "colour", type: "ordinal", domain: names, range: COLOURS },
    ],
    axes: [
      { orient: "bottom", scale: "x", title: xLabel, tickCount: 8, format: "~s", ...axis },
      { orient: "left", scale: "y", title: yLabel, tickCount: 8, ...axis },
    ],
    legends: [{
      stroke: "colour",
      orient: "top-right",
      symbolType: "stroke",
      symbolStrokeWidth: 3,
      symbolSize: 300,
      labelFontSize: 13,
      labelColor: text,
      offset: 12,
    }],
    marks: [
      layer("raw", 0.3, 1),
      layer("line", 1, 2),
      {
        type: "symbol",
        from: { data: "dots" },
        encode: {
          enter: {
            x: { scale: "x", field: "step" },
            y: { scale: "y", field: "value" },
            size: { value: 40 },
            opacity: { signal: "datum.finite ? 1 : 0" },
            fill: { scale: "colour", field: "series" },
          },
        },
      },
    ],
  };
}

/** Lets the picture follow the reader's colour scheme, and gives it a name for screen readers. */
function withTheme(svg: string, title: string): string {
  const dark = Object.values(THEME)
    .flatMap(([light, dark]) => [
      `[fill="${light}"]{fill:${dark}}`,
      `[stroke="${light}"]{stroke:${dark}}`,
    ]).join("");
  const style = `<style>@media (prefers-color-scheme: dark){${dark}}</style>`;
  const escaped = title.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`);
  return svg.replace(
    /^<svg [^>]*>/,
    (open) => `${open.slice(0, -1)} role="img"><title>${escaped}</title>${style}`,
  );
}
