import assert from "node:assert/strict";
import { lengthHistogramsSvg } from "../../src/report/length_histograms.ts";

/** The bars of one colour: height in pixels and whether they are faint. */
function bars(svg: string, colour: string): { height: number; isFaint: boolean }[] {
  const pattern = new RegExp(`<path [^>]*d="([^"]*)"[^>]*fill="${colour}"[^>]*>`, "g");
  return [...svg.matchAll(pattern)].map(([tag, path]) => ({
    height: Number(/v(-?[\d.]+)/.exec(path)![1]),
    isFaint: tag.includes(`fill-opacity="0.35"`),
  }));
}

Deno.test("lengthHistogramsSvg() counts each length and marks the limit when there is one", {
  permissions: "none",
}, async () => {
  const svg = await lengthHistogramsSvg({
    title: "Lengths <&>",
    panels: [
      { name: "English", lengths: [1, 2, 2, 2, 2, 4], limit: 2 },
      { name: "French", lengths: Uint16Array.of(3, 3) },
    ],
    height: 200,
  });
  assert.match(svg, /^<svg .*<\/svg>$/s);
  assert.match(svg, /@media \(prefers-color-scheme: dark\)/);
  for (
    const text of ["English", "French", "limit 2 keeps 83.3%", "length in tokens", "sequences"]
  ) {
    assert(svg.includes(`>${text}</text>`), text);
  }
  const english = bars(svg, "#2f81d6");
  assert.deepEqual(english.map(({ height }) => height), [0, 50, 200, 0, 50]);
  assert.deepEqual(english.map(({ isFaint }) => isFaint), [false, false, false, true, true]);
  assert.deepEqual(bars(svg, "#e0761a").map(({ height }) => height), [0, 0, 0, 200]);
  assert(!svg.includes("NaN"));
});

Deno.test("lengthHistogramsSvg() joins lengths into wider bars when sequences are long", async () => {
  const lengths = Array.from({ length: 1000 }, (_, i) => i);
  const svg = await lengthHistogramsSvg({ panels: [{ name: "a", lengths, limit: 256 }] });
  assert.equal(bars(svg, "#2f81d6").length, 50);
  assert.match(svg, />limit 256 keeps 25.7%</);
});

Deno.test("lengthHistogramsSvg() throws when there is nothing to count or no length", async () => {
  const draw = (...lengths: number[]) => lengthHistogramsSvg({ panels: [{ name: "a", lengths }] });
  await assert.rejects(lengthHistogramsSvg({ panels: [] }), RangeError);
  await assert.rejects(draw(), /"a": expected lengths to draw but got none/);
  await assert.rejects(draw(1, -1), /got -1 at 1/);
  await assert.rejects(draw(1.5), RangeError);
  await assert.rejects(draw(NaN), RangeError);
});
