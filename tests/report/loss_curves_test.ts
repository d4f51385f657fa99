import assert from "node:assert/strict";
import { lossCurvesSvg, type LossSeries, smooth } from "../../src/report/loss_curves.ts";

const steps = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
const train = (count: number): LossSeries => ({
  name: "train",
  steps: steps(count),
  values: steps(count).map((step) => 6 + 4 / step + Math.sin(step * 12.9)),
});

/** The paths of the curves: those with a coloured stroke. */
const lines = (svg: string) =>
  [...svg.matchAll(/<path [^>]*d="(M[^"]*)"[^>]*stroke="(#2f81d6|#e0761a)"[^>]*>/g)]
    .filter((match) => match[1].split("L").length > 2) // not the legend's short strokes
    .map((match) => ({ path: match[1], colour: match[2] }));

Deno.test("lossCurvesSvg() draws curves, axes and legend when there is no permission", {
  permissions: "none",
}, async () => {
  const svg = await lossCurvesSvg({
    title: "A <b> & c",
    series: [
      train(200),
      { name: "validation", steps: [1, 100, 200], values: [10, 7, 6.5], kind: "validation" },
    ],
  });
  assert.match(svg, /^<svg .*<\/svg>$/s);
  assert.match(svg, /role="img"><title>A &#60;b&#62; &#38; c<\/title>/);
  for (const text of ["step", "loss", "train", "validation", "200", "A &lt;b&gt; &amp; c"]) {
    assert(svg.includes(`>${text}</text>`), text);
  }
  assert.deepEqual(lines(svg).map((line) => line.colour), ["#2f81d6", "#2f81d6", "#e0761a"]);
  assert.equal(svg.match(/<path [^>]*fill="#e0761a"/g)?.length, 3); // validation points
  assert.match(svg, /@media \(prefers-color-scheme: dark\)\{\[fill="#ffffff"\]\{fill:#0d1117\}/);
  assert(!svg.includes("NaN"));
});

Deno.test("lossCurvesSvg() leaves a gap when a value is not finite", async () => {
  const values = [10, 9, NaN, 8, 7];
  const svg = await lossCurvesSvg({ series: [{ name: "a", steps: steps(5), values }] });
  assert.deepEqual(lines(svg).map((line) => line.path.split("M").length - 1), [2]);
  assert(!svg.includes("NaN"));
});

Deno.test("lossCurvesSvg() thins out but keeps the extremes when a run is long", async () => {
  const long = train(100_000);
  const values = Array.from(long.values);
  values[54_321] = 20;
  const svg = await lossCurvesSvg({ series: [{ ...long, values }], height: 380 });
  const [raw, smoothed] = lines(svg).map((line) => line.path.split("L").length);
  assert(raw > 1000 && raw <= 2002 && smoothed <= 2002, `${raw} and ${smoothed} points`);
  // 20 is the top of the axis: the line touches the upper edge.
  assert.match(lines(svg)[0].path, /,0L/);
});

Deno.test("lossCurvesSvg() throws when there is nothing to draw or lengths differ", async () => {
  await assert.rejects(lossCurvesSvg({ series: [] }), /at least one finite value/);
  const values = [NaN, Infinity];
  await assert.rejects(
    lossCurvesSvg({ series: [{ name: "a", steps: [1, 2], values }] }),
    RangeError,
  );
  await assert.rejects(
    lossCurvesSvg({ series: [{ name: "a", steps: [1], values: [1, 2] }] }),
    /Series "a" has 1 steps but 2 values/,
  );
});

Deno.test("smooth() keeps straight lines, gaps and the level at the end when it averages", () => {
  assert.deepEqual([...smooth([1, 2, 3, 4, 5], 1)], [1, 2, 3, 4, 4.5]);
  assert.deepEqual([...smooth([4, 4, NaN, 4, 4], 2)], [4, 4, NaN, 4, 4]);
  assert.deepEqual([...smooth([3, 6, 9, 0], 2)], [3, 6, 4.5, 5]);
});
