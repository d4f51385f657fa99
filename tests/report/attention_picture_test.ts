import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { decode } from "npm:fast-png@8.0.0";
import { XMLParser, XMLValidator } from "npm:fast-xml-parser@5.12.1";
import {
  type AttentionLayer,
  attentionPicture,
  attentionPng,
} from "../../src/report/attention_picture.ts";
import { axisLabels, visibleText } from "../../src/report/heat_map.ts";

/** Even causal attention, which every row of a mask sums to 1. */
function causal(name: string, heads: number, size: number): AttentionLayer {
  const weights = Float32Array.from({ length: heads * size * size }, (_, i) => {
    const query = Math.floor(i / size) % size;
    return i % size <= query ? 1 / (query + 1) : 0;
  });
  return { name, heads, queries: size, keys: size, weights };
}

// deno-lint-ignore no-explicit-any -- what the parser makes of an SVG
function parse(svg: string): any {
  assert.equal(XMLValidator.validate(svg), true);
  return new XMLParser({ ignoreAttributes: false, attributeNamePrefix: "" }).parse(svg).svg;
}

/** The PNG of each image, that of the scale first. */
function images(svg: string): ReturnType<typeof decode>[] {
  const pattern = /<image [^>]*href="data:image\/png;base64,([^"]*)"/g;
  return [...svg.matchAll(pattern)].map((match) => decode(Buffer.from(match[1], "base64")));
}

const labels = (svg: string): string[] =>
  [...svg.matchAll(/<text [^>]*>([^<]*)<\/text>/g)].map((match) => match[1]);

Deno.test("attentionPicture() draws an image a head when there is no permission", {
  permissions: "none",
}, async () => {
  const layers = [causal("h.0.attn", 3, 8), causal("h.1.attn", 2, 8)];
  const svg = await attentionPicture(layers, { title: "Maps <&>" });
  const picture = parse(svg);
  assert.equal(picture.image.length, 1 + 3 + 2);
  assert(Number(picture.width) <= 980);
  assert.match(svg, /@media \(prefers-color-scheme: dark\)/);
  const texts = labels(svg);
  for (const text of ["Maps &#60;&#38;&#62;", "h.0.attn", "h.1.attn", "head 2", "query", "key"]) {
    assert(texts.includes(text), text);
  }
  assert.equal(texts.filter((text) => text === "head 0").length, 2);
});

Deno.test("attentionPicture() gives zero no colour and one the brightest when it paints", async () => {
  const [, first] = images(await attentionPicture([causal("a", 1, 4)]));
  assert.equal(first.width, first.height);
  assert.equal(first.width % 4, 0);
  const cell = first.width / 4;
  const shade = (query: number, key: number) => {
    const shades = new Set<number>();
    for (let y = query * cell; y < (query + 1) * cell; y++) {
      for (let x = key * cell; x < (key + 1) * cell; x++) {
        shades.add(first.data[y * first.width + x]);
      }
    }
    assert.equal(shades.size, 1);
    return first.palette![[...shades][0]];
  };
  assert.deepEqual(shade(0, 3), [0, 0, 0, 0]);
  assert.deepEqual(shade(0, 0), [253, 231, 37, 255]); // the bright end of viridis
  const brightness = [3, 2, 1, 0].map((query) => shade(query, 0)[1]);
  assert.deepEqual(brightness, brightness.toSorted((a, b) => a - b));
  assert.equal(new Set(brightness).size, 4);
});

Deno.test("attentionPicture() names tokens readably when rows differ in keys", async () => {
  const source = ["<&>", " go", "\n"];
  const svg = await attentionPicture([{
    name: "decoder.layers.0.cross_attn",
    heads: 2,
    queries: 2,
    keys: 3,
    weights: new Float32Array(12).fill(1 / 3),
    queryTokens: ["va", " \t"],
    keyTokens: source,
  }, causal("decoder.layers.0.self_attn", 1, 2)]);
  parse(svg);
  const texts = labels(svg);
  // Keys under each of both heads, queries once.
  for (const text of ["&#60;&#38;&#62;", "·go", "↵"]) {
    assert.equal(texts.filter((other) => other === text).length, 2, text);
  }
  assert.equal(texts.filter((text) => text === "va").length, 1);
  assert(texts.includes("·→"));
  const [, map] = images(svg);
  assert(map.width > map.height);
});

Deno.test("attentionPicture() stays small and shows single peaks when sequences are long", async () => {
  const layer = causal("h.0.attn", 1, 1024);
  const size = 1024;
  for (let query = 0; query < size; query++) {
    layer.weights.fill(0, query * size, (query + 1) * size);
    layer.weights[query * size + Math.floor(query / 7)] = 1;
  }
  const svg = await attentionPicture([layer]);
  assert(svg.length < 40_000, `${svg.length} characters`);
  const [, map] = images(svg);
  assert.deepEqual([map.width, map.height], [512, 512]);
  const brightest = 63; // the last index of the palette
  for (let row = 0; row < 512; row++) {
    assert(map.data.subarray(row * 512, (row + 1) * 512).includes(brightest), `row ${row}`);
  }
});

Deno.test("attentionPicture() reaches above 1 when weights are sums of two attentions", async () => {
  const layer = causal("h.1.attn", 1, 4);
  layer.weights[0] = 2;
  const svg = await attentionPicture([layer]);
  assert(labels(svg).includes("2"));
  const [, map] = images(svg);
  assert.equal(map.data[0], 63);
});

Deno.test("attentionPicture() and attentionPng() throw when sizes or weights are wrong", async () => {
  const layer = causal("h.0.attn", 2, 3);
  const cases: [AttentionLayer[], RegExp][] = [
    [[], /at least one layer/],
    [[{ ...layer, heads: 0 }], /"h.0.attn": expected heads, queries and keys of at least 1/],
    [[{ ...layer, keys: 4 }], /expected 2 \* 3 \* 4 = 24 weights but got 18/],
    [[{ ...layer, queryTokens: ["a"] }], /expected 3 query tokens but got 1/],
    [[{ ...layer, keyTokens: ["a", "b"] }], /expected 3 key tokens but got 2/],
    [[{ ...layer, weights: layer.weights.with(4, NaN) }], /got NaN at 4/],
    [[{ ...layer, weights: layer.weights.with(5, -0.5) }], /got -0.5 at 5/],
    [[{ ...layer, weights: layer.weights.with(5, Infinity) }], /got Infinity at 5/],
  ];
  for (const [layers, message] of cases) {
    for (const draw of [attentionPicture, attentionPng]) {
      await assert.rejects(draw(layers), (error: Error) => {
        assert(error instanceof RangeError);
        assert.match(error.message, message);
        return true;
      });
    }
  }
});

Deno.test("attentionPng() lays the maps out in rows and columns when layers differ", async () => {
  const png = decode(await attentionPng([causal("a", 3, 16), causal("b", 1, 80)]));
  assert.deepEqual([png.width, png.height], [6 + 3 * 166, 6 + 2 * 166]);
  const at = (x: number, y: number) => png.data[y * png.width + x];
  assert.equal(at(5, 6), 0);
  for (const head of [0, 1, 2]) assert.equal(at(6 + head * 166, 6), 63);
  assert.equal(at(6, 172), 63);
  assert.equal(at(172, 172), 0); // the second row has one head
});

Deno.test("axisLabels() thins out when there is no room for all", () => {
  const tokens = Array.from({ length: 30 }, (_, i) => `t${i}`);
  assert.deepEqual(axisLabels(30, 360, tokens).map(({ text }) => text), tokens);
  const few = axisLabels(30, 120, tokens);
  assert.deepEqual(few.slice(0, 2), [{ index: 0, text: "t0" }, { index: 3, text: "t3" }]);
  assert.equal(few.length, 10);
  const positions = axisLabels(256, 140, undefined).map(({ index }) => index);
  assert.deepEqual(positions, [0, 64, 128, 192]);
});

Deno.test("visibleText() keeps a label readable when a token is white, long or not text", () => {
  const cases: [string, string][] = [
    [" the", "·the"],
    ["\r\n\n", "↵↵"],
    ["\x00\x1b", "\\x00\\x1b"],
    ["\ud800", "\ufffd"],
    ["fourteen_chars", "fourteen_chars"],
    ["fifteen__chars_", "fifteen__char…"],
    ["", ""],
  ];
  for (const [token, shown] of cases) assert.equal(visibleText(token), shown);
});
