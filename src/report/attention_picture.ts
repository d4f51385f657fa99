import {
  axisLabels,
  enlarged,
  type HeatMap,
  type HeatScale,
  LABEL_SIZE,
  palette,
  placeOnScale,
  scaleBarPng,
  type Shades,
  shadesOf,
  widestLabel,
} from "./heat_map.ts";
import { encodePng, escapeXml, THEME, themeStyle } from "./pictures.ts";

/** The attention weights of one layer for one example: a row of a picture. */
export interface AttentionLayer {
  /** The heading of the row, such as `h.0.attn`. */
  name: string;
  /** The number of heads: maps in the row. */
  heads: number;
  /** The number of positions that attend: rows of a map. */
  queries: number;
  /** The number of positions attended to: columns of a map. */
  keys: number;
  /** The weights, of shape (heads, queries, keys), each finite and not negative. */
  weights: Float32Array;
  /** The token at each query, shown to the left of the maps. Default: positions. */
  queryTokens?: readonly string[];
  /** The token at each key, shown below the maps. Default: positions. */
  keyTokens?: readonly string[];
}

/** Options of {@linkcode attentionPicture}. */
export interface AttentionPictureOptions {
  /** The heading of the picture. */
  title?: string | undefined;
  /** The maximum width of the picture in pixels, exceeded if the heads do not fit. Default: 980. */
  width?: number;
}

// Sizes in pixels.
const MARGIN = 20;
const GAP = 12;
const MIN_MAP = 72;
const MAX_MAP = 250;
const BAR_WIDTH = 260;
const MAX_CELLS = 512;

const [BACKGROUND] = THEME.background;
const [INK] = THEME.text;
const [LINE] = THEME.line;
const [EMPTY] = THEME.grid;

/**
 * Draws the attention heads of every layer as one SVG, one row per layer and one column per head. All maps share one
 * colour scale, which is shown above them. It follows a power of the weights, chosen so that even attention over all
 * keys is at a quarter of the scale and both long sequences and single peaks are visible. Exact zeros, which a mask
 * leaves, stay empty. Tokens are shown with spaces as `·` and line breaks as `↵`; if there is not enough room, only
 * every second, third ... is labelled. The picture follows the reader's colour scheme, light or dark.
 *
 * @throws {RangeError} where there is no layer, a layer has not as many weights or tokens as its
 * sizes say, or a weight is negative or not finite
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { attentionPicture } from "@dinograd/dinograd";
 *
 * const svg = await attentionPicture([{
 *   name: "h.0.attn",
 *   heads: 1,
 *   queries: 2,
 *   keys: 2,
 *   weights: Float32Array.of(1, 0, 0.3, 0.7),
 *   queryTokens: ["To", " be"],
 *   keyTokens: ["To", " be"],
 * }]);
 * assert.match(svg, /^<svg .*>·be<\/text>/s);
 * ```
 */
export async function attentionPicture(
  layers: readonly AttentionLayer[],
  options?: AttentionPictureOptions,
): Promise<string> {
  checkLayers(layers);
  const scale = attentionScale(layers);
  const colours = await palette();
  const columns = Math.max(...layers.map(({ heads }) => heads));
  // The labels' width depends on how many fit, and the maps' size on the labels' width: assume that all fit.
  const labelWidth = Math.max(
    ...layers.map((layer) => widestLabel(axisLabels(layer.queries, Infinity, layer.queryTokens))),
  );
  const left = MARGIN + 22 + labelWidth + 8;
  const room = (options?.width ?? 980) - left - MARGIN - (columns - 1) * GAP;
  const side = Math.max(MIN_MAP, Math.min(MAX_MAP, Math.floor(room / columns)));
  const width = left + Math.max(columns * (side + GAP) - GAP, BAR_WIDTH) + MARGIN;

  const parts: string[] = [];
  let y = MARGIN;
  if (options?.title !== undefined) {
    parts.push(text(MARGIN, y + 12, options?.title, { size: 15, weight: 600 }));
    y += 34;
  }
  parts.push(scaleBar(left, y, scale, await scaleBarPng()));
  y += 52;
  for (const [row, layer] of layers.entries()) {
    const [mapWidth, mapHeight] = mapSize(layer, side);
    const rowLabels = axisLabels(layer.queries, mapHeight, layer.queryTokens);
    const columnLabels = axisLabels(layer.keys, mapWidth, layer.keyTokens);
    // Rows with the same keys share the labels under the last of them.
    const labelled = !sharesKeys(layer, layers[row + 1]);
    parts.push(text(left, y + 11, layer.name, { size: 13, weight: 600 }));
    y += 36;
    for (let head = 0; head < layer.heads; head++) {
      const x = left + head * (side + GAP);
      const shades = shadesOf(headMap(layer, head), scale, MAX_CELLS);
      const picture = await mapPicture(shades, colours, mapWidth);
      parts.push(
        text(x, y - 6, `head ${head}`),
        `<rect x="${x}" y="${y}" width="${mapWidth}" height="${mapHeight}" fill="${EMPTY}"/>`,
        pngImage(x, y, mapWidth, mapHeight, picture),
        ...columnLabels.map(({ index, text }) => {
          const at = x + mapWidth / layer.keys * (index + 0.5);
          return keyLabel(at, y + mapHeight, labelled ? text : undefined, layer);
        }),
      );
    }
    parts.push(
      ...rowLabels.map((label) => {
        const at = y + mapHeight / layer.queries * (label.index + 0.5);
        const style = { anchor: "end", monospace: layer.queryTokens !== undefined } as const;
        return tick(left - 4, at, left, at) + text(left - 7, at + 4, label.text, style);
      }),
      text(MARGIN + 10, y + mapHeight / 2, "query", { anchor: "middle", turned: true }),
    );
    y += mapHeight + 8;
    if (labelled) {
      y += layer.keyTokens ? widestLabel(columnLabels) : LABEL_SIZE;
      parts.push(text(left + mapWidth / 2, y + 16, "key", { anchor: "middle" }));
      y += 22;
    }
    y += 14;
  }
  const height = Math.ceil(y - 14 + MARGIN);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
    `viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="${LABEL_SIZE}" ` +
    `role="img"><title>${escapeXml(options?.title ?? "Attention weights")}</title>${themeStyle()}` +
    `<rect width="${width}" height="${height}" fill="${BACKGROUND}"/>${parts.join("\n")}</svg>`;
}

/** Draws a map as a picture `width` pixels wide. */
async function mapPicture(map: Shades, colours: number[][], width: number): Promise<Picture> {
  // Not all viewers respect image-rendering, so cells larger than a pixel are enlarged here.
  const zoom = Math.max(1, Math.floor(2 * width / map.width));
  const png = await encodePng({ ...enlarged(map, zoom), palette: colours });
  return { png, isEnlarged: map.width <= width };
}

/** Returns the tick under a column, with its token or position unless `label` is undefined. */
function keyLabel(
  x: number,
  y: number,
  label: string | undefined,
  { keyTokens }: AttentionLayer,
): string {
  const mark = tick(x, y, x, y + 4);
  if (label === undefined) return mark;
  if (!keyTokens) return mark + text(x, y + 16, label, { anchor: "middle" });
  return mark + text(x + 4, y + 7, label, { anchor: "end", turned: true, monospace: true });
}

/** Returns the width and height of a layer's maps, with square cells unless that makes a side too short. */
function mapSize({ queries, keys }: AttentionLayer, side: number): [number, number] {
  const longer = Math.max(queries, keys);
  const pixels = (count: number) => Math.round(Math.max(side * count / longer, side / 4));
  return [pixels(keys), pixels(queries)];
}

/** Whether the labels under the second row apply to the columns of the first one, too. */
function sharesKeys(a: AttentionLayer, b: AttentionLayer | undefined): boolean {
  return b !== undefined && a.heads <= b.heads && a.keys === b.keys && a.queries === b.queries &&
    a.keyTokens?.join("\0") === b.keyTokens?.join("\0");
}

/** Draws the colour scale, with some weights below it. */
function scaleBar(x: number, y: number, scale: HeatScale, png: Uint8Array): string {
  const parts = [pngImage(x, y, BAR_WIDTH, 12, { png, isEnlarged: false })];
  let last = Infinity;
  // Both ends, and between them each weight that is far enough from the one before.
  for (const weight of [scale.top, 1, 0.5, 0.25, 0.1, 0.03, 0.01, 1e-3, 1e-4, 0]) {
    const at = placeOnScale(weight, scale) * BAR_WIDTH;
    if (weight > 0 && Math.min(last - at, at) < 30) continue;
    last = at;
    const label = String(Number(weight.toPrecision(3)));
    parts.push(
      tick(x + at, y + 12, x + at, y + 16),
      text(x + at, y + 28, label, { anchor: "middle" }),
    );
  }
  parts.push(text(x + BAR_WIDTH + 14, y + 10, "attention weight"));
  return parts.join("");
}

interface TextStyle {
  size?: number;
  weight?: number;
  anchor?: "middle" | "end";
  /** Whether the text reads upwards. */
  turned?: boolean;
  monospace?: boolean;
}

function text(x: number, y: number, content: string, style: TextStyle = {}): string {
  const at = `${round(x)} ${round(y)}`;
  const place = style.turned
    ? `transform="translate(${at}) rotate(-90)"`
    : `x="${round(x)}" y="${round(y)}"`;
  return `<text ${place}` +
    (style.size ? ` font-size="${style.size}"` : "") +
    (style.weight ? ` font-weight="${style.weight}"` : "") +
    (style.anchor ? ` text-anchor="${style.anchor}"` : "") +
    (style.monospace ? ` font-family="monospace"` : "") +
    ` fill="${INK}">${escapeXml(content)}</text>`;
}

function tick(x1: number, y1: number, x2: number, y2: number): string {
  return `<path d="M${round(x1)},${round(y1)}L${round(x2)},${round(y2)}" stroke="${LINE}"/>`;
}

/** A PNG in a picture. */
interface Picture {
  readonly png: Uint8Array;
  /** An enlarged picture keeps sharp edges between cells; a shrunk one must not lose every second cell. */
  readonly isEnlarged: boolean;
}

function pngImage(
  x: number,
  y: number,
  width: number,
  height: number,
  { png, isEnlarged }: Picture,
): string {
  return `<image x="${x}" y="${y}" width="${width}" height="${height}" ` +
    `preserveAspectRatio="none"${isEnlarged ? ` style="image-rendering:pixelated"` : ""} ` +
    `href="data:image/png;base64,${png.toBase64()}"/>`;
}

function round(pixels: number): number {
  return Math.round(pixels * 10) / 10;
}

// Sizes in pixels of the picture without labels.
const PNG_SIDE = 160;
const PNG_GAP = 6;
const PNG_MAX_CELLS = 256;

/**
 * Draws the attention heads of every layer as one PNG without labels, one row per layer and one column per head, in the
 * colours of {@linkcode attentionPicture}: for {@linkcode EventFile.image}.
 *
 * @throws {RangeError} as {@linkcode attentionPicture} does
 */
export async function attentionPng(layers: readonly AttentionLayer[]): Promise<Uint8Array> {
  checkLayers(layers);
  const scale = attentionScale(layers);
  const rows = layers.map((layer) => {
    const heads = Array.from({ length: layer.heads }, (_, head) => headMap(layer, head));
    return heads.map((head) => {
      const map = shadesOf(head, scale, PNG_MAX_CELLS);
      return enlarged(map, Math.max(1, Math.floor(PNG_SIDE / Math.max(map.width, map.height))));
    });
  });
  const mapWidth = Math.max(...rows.map(([head]) => head!.width));
  const width = PNG_GAP + Math.max(...layers.map(({ heads }) => heads)) * (mapWidth + PNG_GAP);
  const height = rows.reduce((sum, [head]) => sum + head!.height + PNG_GAP, PNG_GAP);
  const pixels = new Uint8Array(width * height);
  let top = PNG_GAP;
  for (const maps of rows) {
    for (const [head, map] of maps.entries()) {
      const left = PNG_GAP + head * (mapWidth + PNG_GAP);
      for (let y = 0; y < map.height; y++) {
        const line = map.pixels.subarray(y * map.width, (y + 1) * map.width);
        pixels.set(line, (top + y) * width + left);
      }
    }
    top += maps[0]!.height + PNG_GAP;
  }
  return await encodePng({ width, height, pixels, palette: await palette() });
}

/** Throws if there is no layer, or if a layer does not match its sizes. */
function checkLayers(layers: readonly AttentionLayer[]): void {
  if (layers.length === 0) {
    throw new RangeError("attentionPicture: expected at least one layer but got none");
  }
  for (const layer of layers) {
    const problem = problemOf(layer);
    if (problem) {
      throw new RangeError(`attentionPicture: ${JSON.stringify(layer.name)}: ${problem}`);
    }
  }
}

function problemOf(layer: AttentionLayer): string | undefined {
  const { heads, queries, keys, weights, queryTokens, keyTokens } = layer;
  if (![heads, queries, keys].every((size) => Number.isInteger(size) && size > 0)) {
    return `expected heads, queries and keys of at least 1 but got ${heads}, ${queries}, ${keys}`;
  }
  const size = heads * queries * keys;
  if (weights.length !== size) {
    return `expected ${heads} * ${queries} * ${keys} = ${size} weights but got ${weights.length}`;
  }
  if (queryTokens && queryTokens.length !== queries) {
    return `expected ${queries} query tokens but got ${queryTokens.length}`;
  }
  if (keyTokens && keyTokens.length !== keys) {
    return `expected ${keys} key tokens but got ${keyTokens.length}`;
  }
  const wrong = weights.findIndex((weight) => !(weight >= 0 && weight < Infinity));
  if (wrong < 0) return undefined;
  return `expected finite weights of at least 0 but got ${weights[wrong]} at ${wrong}`;
}

/** Returns one colour scale for all maps, so that they can be compared. */
function attentionScale(layers: readonly AttentionLayer[]): HeatScale {
  // A sum of two attentions, as in GPT-3's sparse blocks, can exceed 1.
  let top = 1;
  for (const { weights } of layers) {
    for (const weight of weights) top = Math.max(top, weight);
  }
  const keys = Math.max(...layers.map(({ keys }) => keys));
  // Puts even attention over all keys at a quarter of the scale.
  const exponent = Math.log(4) / Math.log(Math.max(2, keys));
  return { top, exponent: Math.min(1, Math.max(1 / 4, exponent)) };
}

/** The weights of one head. */
function headMap({ queries, keys, weights }: AttentionLayer, head: number): HeatMap {
  const size = queries * keys;
  const values = weights.subarray(head * size, (head + 1) * size);
  return { rows: queries, columns: keys, values };
}
