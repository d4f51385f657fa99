// Where pictures put their points: scales, gaps, sizes and positions of labels.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { decode } from "npm:fast-png@8.0.0";
import { type AttentionLayer, attentionPicture } from "../../src/report/attention_picture.ts";
import { type Curve, type CurvePanel, curvesSvg } from "../../src/report/curves.ts";
import { EventFile } from "../../src/report/event_file.ts";
import { formatTable } from "../../src/report/format.ts";

const panel = (values: number[], more: Partial<Curve> = {}): CurvePanel => ({
  yLabel: "loss",
  series: [{ name: "a", steps: values.map((_, i) => i * 50), values, ...more }],
});

/** The points of the curve's lines, without the legend's: [x, y] of each stretch between gaps. */
function stretches(svg: string, opacity = "1"): number[][][] {
  const pattern = new RegExp(`<path [^>]*d="(M[^"]*)"[^>]*stroke="#2f81d6"[^>]*>`, "g");
  return [...svg.matchAll(pattern)]
    .filter(([whole]) => (/stroke-opacity="([^"]*)"/.exec(whole)?.[1] ?? "1") === opacity)
    .map(([, path]) => path.replaceAll("Z", "").split("M").slice(1))
    .filter((parts) => !/^-[\d.]+,0L[\d.]+,0$/.test(parts[0])) // the legend's short stroke
    .flat()
    .map((part) => part.split("L").map((point) => point.split(",").map(Number)));
}

/** Width and height of the plotting areas. */
const areas = (svg: string) =>
  [...svg.matchAll(/<path class="background"[^>]* d="M0,0h(\d{3,})v(\d{3,})h/g)]
    .map(([, width, height]) => `${width} x ${height}`);

Deno.test("curvesSvg() puts steps from left to right and values from the bottom to the top", async () => {
  const svg = await curvesSvg({ panels: [panel([0, 10, 5, 2.5])] });
  assert.deepEqual(stretches(svg), [[[0, 380], [240, 0], [480, 190], [720, 285]]]);
  const small = await curvesSvg({ panels: [panel([0, 10, 5])], width: 200, height: 100 });
  assert.deepEqual(stretches(small), [[[0, 100], [100, 0], [200, 50]]]);
});

Deno.test("curvesSvg() ends its axis at a round number, and does not begin it at 0", async () => {
  const [points] = stretches(await curvesSvg({ panels: [panel([40.3, 49.7, 45])] }));
  assert.deepEqual(points.map(([, y]) => Math.round(y)), [369, 11, 190]); // of 40 to 50
});

Deno.test("curvesSvg() has the sizes that are documented", async () => {
  const one = panel([1, 3, 2]);
  const draw = async (
    count: number,
    size: { width?: number; height?: number } = {},
  ) => [
    ...new Set(areas(await curvesSvg({ panels: Array<CurvePanel>(count).fill(one), ...size }))),
  ];
  assert.deepEqual(await draw(1), ["720 x 380"]);
  assert.deepEqual(await draw(2), ["410 x 320"]);
  assert.deepEqual(await draw(1, { width: 620 }), ["620 x 380"]);
  assert.deepEqual(await draw(1, { height: 300 }), ["720 x 300"]);
  assert.deepEqual(await draw(3, { width: 200, height: 150 }), ["200 x 150"]);
});

Deno.test("curvesSvg() leaves NaN out of its scale, its line and its points", async () => {
  const values = [100, NaN, 101, Infinity, 100.5, 100];
  const found = stretches(await curvesSvg({ panels: [panel(values)] }));
  assert.deepEqual(found.flat(), [[0, 380], [288, 0], [576, 190], [720, 380]]);
  assert.equal(found.length, 3);
  const svg = await curvesSvg({ panels: [panel(values, { kind: "validation" })] });
  const dots = [...svg.matchAll(/<path [^>]*fill="#2f81d6"[^>]*>/g)].map(([dot]) => dot);
  assert.equal(dots.length, 6);
  assert.equal(dots.filter((dot) => /opacity="0"/.test(dot)).length, 2);
});

Deno.test("curvesSvg() keeps the lowest, the highest and gaps of a long run", async () => {
  const steps = Array.from({ length: 50_000 }, (_, i) => i);
  const values = steps.map((step) => 5 + step % 2 / 10);
  values[12_340] = NaN; // which hides none of the values after it
  values[12_345] = 0;
  values[23_456] = 10;
  values[34_567] = NaN;
  const svg = await curvesSvg({ panels: [panel(values, { steps })] });
  const raw = stretches(svg, "0.3");
  assert.equal(raw.length, 3, "a gap is gone");
  const heights = raw.flat().map(([, y]) => y);
  assert.equal(Math.max(...heights), 380);
  assert.equal(heights.filter((y) => y === 380).length, 1);
  assert.equal(Math.min(...heights), 0);
  assert.equal(raw[0][0][0], 0);
  assert.equal(raw[2].at(-1)![0], 720);
  assert.equal(stretches(svg).length, 3, "a gap of the smooth line is gone");
});

/** A layer whose weights are given by head, query and key. */
function layer(
  [heads, queries, keys]: readonly [number, number, number],
  weight: (head: number, query: number, key: number) => number,
  more: Partial<AttentionLayer> = {},
): AttentionLayer {
  const weights = Float32Array.from(
    { length: heads * queries * keys },
    (_, i) => weight(Math.floor(i / queries / keys), Math.floor(i / keys) % queries, i % keys),
  );
  return { name: "h.0.attn", heads, queries, keys, weights, ...more };
}

/** Place and pixels of each map; the first image is the scale's. */
function maps(svg: string) {
  const pattern =
    /<image x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" [^>]*base64,([^"]*)"/g;
  return [...svg.matchAll(pattern)].slice(1).map(([, x, y, width, height, png]) => ({
    ...{ x: Number(x), y: Number(y), width: Number(width), height: Number(height) },
    image: decode(Buffer.from(png, "base64")),
  }));
}

/** Text and x of the labels that stand upright in the middle of their place. */
const middles = (svg: string) =>
  [...svg.matchAll(/<text x="([\d.]+)" y="[\d.]+" text-anchor="middle"[^>]*>(\d+)<\/text>/g)]
    .map(([, x, text]) => ({ x: Number(x), text }));

Deno.test("attentionPicture() draws each head's own weights, side by side", async () => {
  const svg = await attentionPicture([
    layer([3, 4, 4], (head, query, key) => key === (query + head) % 4 ? 1 : 0),
  ]);
  const found = maps(svg);
  assert.equal(found.length, 3);
  found.forEach(({ x, y, width, image }, head) => {
    assert.deepEqual([x, y], [found[0].x + head * (width + 12), found[0].y]);
    const cell = image.width / 4;
    for (let query = 0; query < 4; query++) {
      for (let key = 0; key < 4; key++) {
        const [x, y] = [key, query].map((at) => Math.floor((at + 0.5) * cell));
        const pixel = image.data[y * image.width + x];
        assert.equal(pixel > 0, key === (query + head) % 4, `head ${head}, ${query}, ${key}`);
      }
    }
  });
});

Deno.test("attentionPicture() is as wide as it may be, and its maps as their keys and queries", async () => {
  const wide = layer([6, 3, 12], () => 1 / 12);
  const widthOf = (svg: string) => Number(/<svg [^>]*width="([\d.]+)"/.exec(svg)![1]);
  const usual = widthOf(await attentionPicture([wide]));
  const narrow = await attentionPicture([wide], { width: 700 });
  assert.ok(usual > 900 && usual <= 980, `${usual}`);
  assert.ok(widthOf(narrow) > 620 && widthOf(narrow) <= 700, `${widthOf(narrow)}`);
  const [{ x, width, height }] = maps(narrow);
  assert.equal(height, Math.round(width / 4));
  // Every label stands under the middle of its column.
  const labels = middles(narrow).filter((label) => label.x > x && label.x < x + width);
  assert.ok(labels.length >= 2 && labels[0].text === "0", JSON.stringify(labels));
  for (const label of labels) {
    const at = x + width / 12 * (Number(label.text) + 0.5);
    assert.ok(Math.abs(label.x - at) < 0.11, `${label.text} at ${label.x}, not ${at}`);
  }
});

Deno.test("attentionPicture() names the keys under each layer that has other ones", async () => {
  const even = () => 1 / 2;
  const named = (name: string, ...keyTokens: string[]) =>
    layer([1, 2, 2], even, { name, keyTokens, queryTokens: ["q", "r"] });
  const count = (svg: string, text: string) => svg.split(`>${text}</text>`).length - 1;
  const same = await attentionPicture([named("x", "one", "two"), named("y", "one", "two")]);
  assert.deepEqual([count(same, "one"), count(same, "q"), count(same, "key")], [1, 2, 1]);
  const other = await attentionPicture([named("x", "one", "two"), named("y", "one", "three")]);
  assert.deepEqual([count(other, "one"), count(other, "two"), count(other, "three")], [2, 1, 1]);
  assert.equal(count(other, "key"), 2);
});

Deno.test("attentionPicture() shows even attention at a quarter of its scale, and peaks of shrunk maps", async () => {
  const [{ image }] = maps(await attentionPicture([layer([1, 64, 64], () => 1 / 64)]));
  const shade = image.data[0];
  assert.ok(Math.abs((shade - 1) / 62 - 0.25) < 0.02, `shade ${shade} of 63`);
  const peaks = layer([1, 1024, 1024], (_, query, key) => key % 2 ? 1e-6 : Number(key === query));
  const [{ image: shrunk }] = maps(await attentionPicture([peaks]));
  for (let row = 0; row < 512; row++) assert.equal(shrunk.data[row * 513], 63, `row ${row}`);
});

Deno.test("EventFile notes where a run goes on, at step 0 too", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const sizes: number[] = [];
    for (const options of [{}, { resumeStep: 0 }, { resumeStep: 7 }]) {
      using events = await EventFile.open(join(folder, "a"), options);
      sizes.push((await Deno.stat(events.path)).size);
    }
    assert.ok(sizes[1] > sizes[0] && sizes[2] >= sizes[1], `${sizes}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("formatTable() has the digits that each column names", () => {
  const columns = [{ key: "a", digits: 3 }, { key: "b", digits: 0 }, { key: "c" }];
  const [, , row] = formatTable([{ a: 1.23456, b: 6.7, c: 0.125 }], columns).split("\n");
  assert.equal(row, "| 1.235 |   7 | 0.125 |");
});
