import { AXIS, COLOURS, vegaPicture } from "./pictures.ts";

/** A curve. */
export interface Curve {
  /** The name in the legend; curves with the same name have the same colour in all panels. */
  name: string;
  /** The training step or epoch of each value, ascending. */
  steps: ArrayLike<number>;
  /** The values, as many as `steps`; a value that is not finite leaves a gap in the line. */
  values: ArrayLike<number>;
  /**
   * How the curve is drawn: `train` as a line, smoothed if there are many values, which are then drawn faintly behind
   * it; `validation` as a line through points. If one name has both, `train` is dashed. Default: `train`.
   */
  kind?: "train" | "validation";
}

/** A panel of curves with its own vertical axis. */
export interface CurvePanel {
  /** The label of the vertical axis, such as `loss`. */
  yLabel: string;
  /** The curves. */
  series: readonly Curve[];
  /** The format of the numbers at the vertical axis, in the syntax of https://d3js.org/d3-format: `.0%`. */
  format?: string;
}

/** Options of {@linkcode curvesSvg}. */
export interface CurvesOptions {
  /** The panels, drawn side by side. */
  panels: readonly CurvePanel[];
  /** The heading of the picture. */
  title?: string | undefined;
  /** The label of the horizontal axes. Default: `step`. */
  xLabel?: string;
  /** The width of each plotting area in pixels. Default: 720, or 410 if there are several panels. */
  width?: number;
  /** The height of each plotting area in pixels. Default: 380, or 320 if there are several panels. */
  height?: number;
}

const MAX_POINTS = 2000;

/**
 * Draws curves, such as the loss and the accuracy of several runs, as an SVG with labelled axes and a legend. The
 * picture follows the reader's colour scheme, light or dark.
 *
 * @throws {RangeError} where a curve has not as many steps as values, or a panel has nothing to draw
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { curvesSvg } from "@dinograd/dinograd";
 *
 * const svg = await curvesSvg({
 *   title: "GPT-2 on Moby Dick",
 *   panels: [{
 *     yLabel: "loss",
 *     series: [
 *       { name: "train", steps: [1, 2, 3], values: [10.8, 9.1, 8.2] },
 *       { name: "validation", steps: [1, 3], values: [10.8, 8.5], kind: "validation" },
 *     ],
 *   }],
 * });
 * assert.match(svg, /^<svg /);
 * ```
 */
export async function curvesSvg(options: CurvesOptions): Promise<string> {
  const { panels, title, xLabel = "step" } = options;
  const several = panels.length > 1;
  const { width = several ? 410 : 720, height = several ? 320 : 380 } = options;
  if (panels.length === 0) {
    throw new RangeError("curvesSvg: expected at least one panel but got none");
  }
  const series = panels.flatMap(({ series }) => series);
  const names = [...new Set(series.map(({ name }) => name))];
  const namesOf = (kind: Curve["kind"]) =>
    new Set(series.filter((curve) => (curve.kind ?? "train") === kind).map(({ name }) => name));
  const isPaired = !namesOf("train").isDisjointFrom(namesOf("validation"));
  const scales: unknown[] = [
    { name: "colour", type: "ordinal", domain: names, range: COLOURS },
    {
      name: "dash",
      type: "ordinal",
      domain: ["train", "validation"],
      range: [isPaired ? [5, 4] : [1, 0], [1, 0]],
    },
  ];
  return await vegaPicture({
    title,
    defaultTitle: "Curves",
    scales,
    legends: [{ stroke: "colour" }, ...isPaired ? [{ strokeDash: "dash" }] : []],
    panels: panels.map((panel) => panelOf(panel, xLabel, width, height)),
  });
}

/**
 * Returns the moving average that the picture draws over a training loss: the mean of up to `radius` values to either
 * side, so that the line does not lag behind the loss. Near the beginning, where a loss falls fast, it uses as few
 * values after as there are before. Values that are not finite stay as gaps.
 */
export function smooth(values: ArrayLike<number>, radius: number): Float64Array {
  const sums = new Float64Array(values.length + 1);
  const counts = new Uint32Array(values.length + 1);
  for (let i = 0; i < values.length; i++) {
    const finite = Number.isFinite(values[i]);
    sums[i + 1] = sums[i]! + (finite ? values[i]! : 0);
    counts[i + 1] = counts[i]! + (finite ? 1 : 0);
  }
  return Float64Array.from(values, (value, i) => {
    if (!Number.isFinite(value)) return NaN;
    const reach = Math.min(radius, i);
    const [begin, end] = [i - reach, Math.min(i + reach + 1, values.length)];
    return (sums[end]! - sums[begin]!) / (counts[end]! - counts[begin]!);
  });
}

/** A point for Vega; `layer` determines how its line is drawn. */
interface Point {
  name: string;
  kind: "train" | "validation";
  layer: "raw" | "line" | "dots";
  step: number;
  value: number;
  /** False where the line has a gap. */
  finite: boolean;
}

function pointsOf({ name, steps, values, kind = "train" }: Curve): Point[] {
  if (steps.length !== values.length) {
    throw new RangeError(
      `curvesSvg: ${
        JSON.stringify(name)
      }: expected ${steps.length} values, one a step, but got ${values.length}`,
    );
  }
  if (!Array.from(values).some(Number.isFinite)) return [];
  const points = (layer: Point["layer"], values: ArrayLike<number>) =>
    thinOut(values).map((i): Point => ({
      name,
      kind,
      layer,
      step: steps[i]!,
      value: Number.isFinite(values[i]) ? values[i]! : 0,
      finite: Number.isFinite(values[i]),
    }));
  if (kind === "validation") return [...points("line", values), ...points("dots", values)];
  // Averages over a twentieth of the run; a short run needs no smoothing.
  const radius = Math.floor(values.length / 40);
  if (values.length === 1) return points("dots", values);
  if (radius === 0) return points("line", values);
  return [...points("raw", values), ...points("line", smooth(values, radius))];
}

/**
 * Returns the indices of about `MAX_POINTS` values at most, the lowest and highest of each stretch, and of one gap of each.
 */
function thinOut(values: ArrayLike<number>): number[] {
  if (values.length <= MAX_POINTS) return Array.from(values, (_, i) => i);
  const kept = new Set<number>([0, values.length - 1]);
  const stretches = MAX_POINTS / 2;
  for (let s = 0; s < stretches; s++) {
    const begin = Math.floor(s * values.length / stretches);
    const end = Math.floor((s + 1) * values.length / stretches);
    let [low, high, gap] = [-1, -1, -1];
    for (let i = begin; i < end; i++) {
      if (!Number.isFinite(values[i])) gap = i;
      else {
        if (low < 0 || values[i]! < values[low]!) low = i;
        if (high < 0 || values[i]! > values[high]!) high = i;
      }
    }
    for (const i of [low, high, gap]) if (i >= 0) kept.add(i);
  }
  return [...kept].sort((a, b) => a - b);
}

function panelOf(
  { series, yLabel, format }: CurvePanel,
  xLabel: string,
  width: number,
  height: number,
): unknown {
  const points = series.flatMap(pointsOf);
  if (points.length === 0) {
    throw new RangeError("curvesSvg: expected at least one finite value but got none");
  }
  const size = { width: { value: width }, height: { value: height } };
  return {
    type: "group",
    encode: { enter: size },
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
      { name: "x", range: [0, width], domain: { data: "points", field: "step" }, zero: false },
      {
        name: "y",
        range: [height, 0],
        domain: { data: "finite", field: "value" },
        zero: false,
        nice: true,
      },
    ],
    axes: [
      {
        orient: "bottom",
        scale: "x",
        gridScale: "y",
        title: xLabel,
        tickCount: 8,
        tickMinStep: 1,
        format: "~s",
        ...AXIS,
      },
      { orient: "left", scale: "y", gridScale: "x", title: yLabel, tickCount: 8, format, ...AXIS },
    ],
    marks: [
      lines("raw", size, { opacity: 0.3, width: 1 }),
      lines("line", size, { opacity: 1, width: 2 }),
      DOTS,
    ],
  };
}

/** Returns the lines of one layer as a Vega mark. */
function lines(
  layer: Point["layer"],
  size: unknown,
  stroke: { readonly opacity: number; readonly width: number },
): unknown {
  return {
    type: "group",
    clip: true,
    from: { facet: { name: `${layer}_of_curve`, data: layer, groupby: ["name", "kind"] } },
    encode: { enter: size },
    marks: [{
      type: "line",
      from: { data: `${layer}_of_curve` },
      encode: {
        enter: {
          x: { scale: "x", field: "step" },
          y: { scale: "y", field: "value" },
          defined: { field: "finite" },
          stroke: { scale: "colour", field: "name" },
          strokeDash: layer === "line" ? { scale: "dash", field: "kind" } : undefined,
          strokeOpacity: { value: stroke.opacity },
          strokeWidth: { value: stroke.width },
          strokeJoin: { value: "round" },
        },
      },
    }],
  };
}

/** The points of curves that are measured only now and then, as a Vega mark. */
const DOTS = {
  type: "symbol",
  from: { data: "dots" },
  encode: {
    enter: {
      x: { scale: "x", field: "step" },
      y: { scale: "y", field: "value" },
      size: { value: 40 },
      opacity: { signal: "datum.finite ? 1 : 0" },
      fill: { scale: "colour", field: "name" },
    },
  },
};
