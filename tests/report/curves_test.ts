import assert from "node:assert/strict";
import { type Curve, curvesSvg, smooth } from "../../src/report/curves.ts";

const steps = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
const train = (count: number): Curve => ({
  name: "train",
  steps: steps(count),
  values: steps(count).map((step) => 6 + 4 / step + Math.sin(step * 12.9)),
});

const lossSvg = (...series: Curve[]) => curvesSvg({ panels: [{ yLabel: "loss", series }] });

/** The paths of the curves: those with a coloured stroke. */
const lines = (svg: string) =>
  [...svg.matchAll(/<path [^>]*d="(M[^"]*)"[^>]*stroke="(#2f81d6|#e0761a)"[^>]*>/g)]
    .filter((match) => match[1].split("L").length > 2) // not the legend's short strokes
    .map((match) => ({ path: match[1], colour: match[2] }));

Deno.test("curvesSvg() draws curves, axes and legend when there is no permission", {
  permissions: "none",
}, async () => {
  const series: Curve[] = [
    train(200),
    { name: "validation", steps: [1, 100, 200], values: [10, 7, 6.5], kind: "validation" },
  ];
  const svg = await curvesSvg({ title: "A <b> & c", panels: [{ yLabel: "loss", series }] });
  assert.match(svg, /^<svg .*<\/svg>$/s);
  assert.match(svg, /role="img"><title>A &#60;b&#62; &#38; c<\/title>/);
  for (const text of ["step", "loss", "train", "validation", "200", "A &lt;b&gt; &amp; c"]) {
    assert(svg.includes(`>${text}</text>`), text);
  }
  assert.deepEqual(lines(svg).map((line) => line.colour), ["#2f81d6", "#2f81d6", "#e0761a"]);
  assert.equal(svg.match(/<path [^>]*fill="#e0761a"/g)?.length, 3); // validation points
  assert.match(svg, /@media \(prefers-color-scheme: dark\)\{\[fill="#ffffff"\]\{fill:#0d1117\}/);
  assert(!svg.includes("NaN"));
  assert((svg.match(/stroke="#e6e9ec"/g)?.length ?? 0) > 8); // lines of the grid
});

Deno.test("curvesSvg() leaves a gap when a value is not finite", async () => {
  const values = [10, 9, NaN, 8, 7];
  const svg = await lossSvg({ name: "a", steps: steps(5), values });
  assert.deepEqual(lines(svg).map((line) => line.path.split("M").length - 1), [2]);
  assert(!svg.includes("NaN"));
});

Deno.test("curvesSvg() thins out but keeps the extremes when a run is long", async () => {
  const long = train(100_000);
  const values = Array.from(long.values);
  values[54_321] = 20;
  const svg = await lossSvg({ ...long, values });
  const [raw, smoothed] = lines(svg).map((line) => line.path.split("L").length);
  assert(raw > 1000 && raw <= 2002 && smoothed <= 2002, `${raw} and ${smoothed} points`);
  // 20 is the top of the axis: the line touches the upper edge.
  assert.match(lines(svg)[0].path, /,0L/);
});

Deno.test("curvesSvg() throws when there is nothing to draw or lengths differ", async () => {
  await assert.rejects(lossSvg(), /at least one finite value/);
  await assert.rejects(curvesSvg({ panels: [] }), /at least one panel/);
  const values = [NaN, Infinity];
  await assert.rejects(
    lossSvg({ name: "a", steps: [1, 2], values }),
    RangeError,
  );
  await assert.rejects(
    lossSvg({ name: "a", steps: [1], values: [1, 2] }),
    /"a": expected 1 values, one a step, but got 2/,
  );
});

Deno.test("smooth() keeps straight lines, gaps and the level at the end when it averages", () => {
  assert.deepEqual([...smooth([1, 2, 3, 4, 5], 1)], [1, 2, 3, 4, 4.5]);
  assert.deepEqual([...smooth([4, 4, NaN, 4, 4], 2)], [4, 4, NaN, 4, 4]);
  assert.deepEqual([...smooth([3, 6, 9, 0], 2)], [3, 6, 4.5, 5]);
});

Deno.test("curvesSvg() draws each run in one colour when panels and splits share it", async () => {
  const runs = (name: string, level: number): Curve[] => [
    { name, steps: [1, 2, 3], values: [level, level - 1, level - 2] },
    { name, steps: [1, 2, 3], values: [level, level - 0.5, level - 1], kind: "validation" },
  ];
  const series = [...runs("GPT-2", 6), ...runs("LLaMA-1", 7)];
  const accuracy = series.map((curve) => ({ ...curve, values: [0.1, 0.2, 0.3] }));
  const svg = await curvesSvg({
    xLabel: "epoch",
    panels: [{ yLabel: "loss", series }, { yLabel: "accuracy", series: accuracy, format: ".0%" }],
  });
  const drawn = lines(svg).map((line) => line.colour);
  for (const colour of ["#2f81d6", "#e0761a"]) {
    assert.equal(drawn.filter((other) => other === colour).length, 4, colour); // 2 panels, 2 splits
  }
  const texts = [...svg.matchAll(/<text [^>]*>([^<]*)<\/text>/g)].map((match) => match[1]);
  for (const text of ["GPT-2", "LLaMA-1", "train", "validation", "loss", "accuracy", "30%"]) {
    assert.equal(texts.filter((other) => other === text).length, 1, text);
  }
  assert.equal(texts.filter((text) => text === "epoch").length, 2);
  assert.equal(svg.match(/stroke-dasharray="5,4"/g)?.length, 4 + 1); // and the legend's
});

Deno.test("curvesSvg() draws a point when a run has one value only", async () => {
  const svg = await lossSvg({ name: "GPT-2", steps: [1], values: [6] });
  assert.equal(svg.match(/<path [^>]*fill="#2f81d6"/g)?.length, 1);
});
