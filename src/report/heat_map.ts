// Heat maps: the scale, the colour map, the pixels of one map, and the labels of its axes.
import { importLate } from "../io/late_import.ts";
import { escapedControl } from "./format.ts";
import { encodePng } from "./pictures.ts";

/** How a value becomes a place on the colour map, 0 to 1: `(value / top) ** exponent`. */
export interface HeatScale {
  top: number;
  exponent: number;
}

/** A matrix, row by row. */
export interface HeatMap {
  rows: number;
  columns: number;
  values: Float32Array;
}

/** The pixels of a map, row by row, as indices of {@linkcode palette}. */
export interface Shades {
  width: number;
  height: number;
  pixels: Uint8Array;
}

/** The number of shades besides "nothing"; more cannot be told apart, and fewer make smaller files. */
const SHADES = 63;

/** Returns the place of a value on the colour map, 0 to 1. */
export function placeOnScale(value: number, { top, exponent }: HeatScale): number {
  return (value / top) ** exponent;
}

/**
 * Returns the shades of a map, an index of {@linkcode palette} per cell. Exact zeros, which a mask leaves, get index 0.
 * A matrix of more than `maxSide` rows or columns is shrunk to the largest value of each block, so that single high
 * values stay visible.
 */
export function shadesOf(
  { rows, columns, values }: HeatMap,
  scale: HeatScale,
  maxSide: number,
): Shades {
  const block = Math.ceil(Math.max(rows, columns) / maxSide);
  const width = Math.ceil(columns / block);
  const height = Math.ceil(rows / block);
  const pixels = new Uint8Array(width * height);
  for (let row = 0; row < rows; row++) {
    const line = Math.floor(row / block) * width;
    for (let column = 0; column < columns; column++) {
      const value = values[row * columns + column]!;
      if (value === 0) continue;
      const shade = 1 + Math.round(placeOnScale(value, scale) * (SHADES - 1));
      const pixel = line + Math.floor(column / block);
      pixels[pixel] = Math.max(pixels[pixel]!, shade);
    }
  }
  return { width, height, pixels };
}

/** Returns a map with each of its cells as `zoom` by `zoom` pixels. */
export function enlarged(
  { width, height, pixels }: Shades,
  zoom: number,
): Shades {
  const large = { width: width * zoom, height: height * zoom };
  const copy = new Uint8Array(large.width * large.height);
  for (let y = 0; y < large.height; y++) {
    const line = Math.floor(y / zoom) * width;
    for (let x = 0; x < large.width; x++) {
      copy[y * large.width + x] = pixels[line + Math.floor(x / zoom)]!;
    }
  }
  return { ...large, pixels: copy };
}

/** Returns the colours of the shades, 0 (transparent) to {@linkcode SHADES}. */
export async function palette(): Promise<number[][]> {
  // Viridis: perceptually even steps, also for colour-blind readers, and visible on white as on black.
  const { interpolateViridis } = await importLate<typeof import("npm:d3-scale-chromatic@3.1.1")>(
    "npm:d3-scale-chromatic@3.1.1",
  );
  const colours = Array.from({ length: SHADES }, (_, shade) => {
    const hex: string = interpolateViridis(shade / (SHADES - 1));
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)).concat(255);
  });
  return [[0, 0, 0, 0], ...colours];
}

/** Returns the colour map from left to right, one pixel high, as a PNG. */
export async function scaleBarPng(): Promise<Uint8Array> {
  const pixels = Uint8Array.from({ length: SHADES }, (_, shade) => shade + 1);
  return await encodePng({ width: SHADES, height: 1, pixels, palette: await palette() });
}

/** The size of the text in pixels, and the width of one of its (monospaced) characters. */
export const LABEL_SIZE = 11;
const CHARACTER = LABEL_SIZE * 0.6;
/** The minimum number of pixels from one token to the next, and from one position to the next. */
const TOKEN_PITCH = 12;
const POSITION_PITCH = 32;
/** The maximum number of characters shown of a token. */
const MAX_LENGTH = 14;

/** A label of an axis. */
interface AxisLabel {
  /** The index on the axis. */
  index: number;
  /** The text of the label. */
  text: string;
}

/**
 * Returns the labels of an axis of `size` places over `pixels` pixels. If there is not enough room for all, every
 * second, third ... token is labelled, and every power of two of the positions.
 */
export function axisLabels(
  size: number,
  pixels: number,
  tokens: readonly string[] | undefined,
): AxisLabel[] {
  const pitch = pixels / size;
  const room = (tokens ? TOKEN_PITCH : POSITION_PITCH) / pitch;
  const step = tokens ? Math.max(1, Math.ceil(room)) : 2 ** Math.max(0, Math.ceil(Math.log2(room)));
  return Array.from({ length: Math.ceil(size / step) }, (_, i) => {
    const index = i * step;
    return { index, text: tokens ? visibleText(tokens[index]!) : String(index) };
  });
}

/** Returns the width of the widest label in pixels. */
export function widestLabel(labels: readonly AxisLabel[]): number {
  return Math.ceil(Math.max(0, ...labels.map(({ text }) => [...text].length)) * CHARACTER);
}

/**
 * Returns a token in readable form: spaces as `·`, line breaks as `↵`, tabs as `→`, other control characters as their
 * codes, and only the beginning of a long one.
 */
export function visibleText(token: string): string {
  const visible = token.toWellFormed()
    .replaceAll("\r\n", "↵").replaceAll("\n", "↵").replaceAll("\t", "→").replaceAll(" ", "·")
    // deno-lint-ignore no-control-regex -- XML cannot hold them
    .replace(/[\x00-\x1f\x7f-\x9f\ufffe\uffff]/g, escapedControl);
  const characters = [...visible];
  if (characters.length <= MAX_LENGTH) return visible;
  return characters.slice(0, MAX_LENGTH - 1).join("") + "…";
}
