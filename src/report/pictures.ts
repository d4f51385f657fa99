// What pictures share: colours for a light and a dark page, text in XML, PNG files by fast-png, and charts as SVG by
// Vega, which needs no browser, canvas or permission. Both packages are used only here, and are fetched only when there
// is something to draw.
import { importLate } from "../io/late_import.ts";

/** Colours on a light background, and their replacements on a dark one. */
export const THEME = {
  background: ["#ffffff", "#0d1117"],
  text: ["#24292f", "#d0d7de"],
  line: ["#8c959f", "#6e7681"],
  grid: ["#e6e9ec", "#262c34"],
} as const;

/** Returns the style that lets a picture drawn in the light colours follow the reader's colour scheme. */
export function themeStyle(): string {
  const dark = Object.values(THEME)
    .flatMap(([light, dark]) => [
      `[fill="${light}"]{fill:${dark}}`,
      `[stroke="${light}"]{stroke:${dark}}`,
    ]).join("");
  return `<style>@media (prefers-color-scheme: dark){${dark}}</style>`;
}

/** Escapes text for XML, between tags and in attributes. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** Distinguishable for colour-blind readers, and readable on white as on near-black. */
export const COLOURS = ["#2f81d6", "#e0761a", "#1a9d74", "#c25a9c", "#8a7fd6", "#a8890f"];

/** The light colours; {@linkcode vegaPicture} replaces them if the reader's scheme is dark. */
export const [BACKGROUND, INK, LINE, GRID] = Object.values(THEME).map(([light]) => light);

/** The style of all axes. */
export const AXIS = {
  grid: true,
  gridColor: GRID,
  domainColor: LINE,
  tickColor: LINE,
  labelColor: INK,
  titleColor: INK,
  labelFontSize: 12,
  titleFontSize: 13,
  titleFontWeight: "normal",
  titlePadding: 10,
} as const;

/** A picture with panels side by side. */
interface VegaPicture {
  /** The heading of the picture. */
  title?: string | undefined;
  /** The name of the picture for screen readers, if it has no heading. */
  defaultTitle: string;
  /** Group marks, one per panel, each with its own width, height, data, scales and axes. */
  panels: unknown[];
  /** The scales that the legends refer to. */
  scales?: unknown[];
  /** The legends above the panels. */
  legends?: unknown[];
}

/** Draws panels in a row as an SVG that follows the reader's colour scheme. */
export async function vegaPicture(picture: VegaPicture): Promise<string> {
  const { title, defaultTitle, panels, scales = [], legends = [] } = picture;
  const specification = {
    padding: 16,
    background: BACKGROUND,
    config: { text: { font: "sans-serif" } },
    title: title &&
      { text: title, color: INK, fontSize: 15, fontWeight: 600, anchor: "start", offset: 14 },
    layout: { columns: panels.length, padding: 28, bounds: "full", align: "each" },
    scales,
    legends: legends.map((legend) => ({
      orient: "top",
      direction: "horizontal",
      symbolType: "stroke",
      symbolStrokeWidth: 3,
      symbolSize: 300,
      labelFontSize: 13,
      labelLimit: 0, // whole names, however long
      labelColor: INK,
      offset: 10,
      ...(legend as Record<string, unknown>),
    })),
    marks: panels,
  };
  const vega = await importLate<typeof import("npm:vega@6.4.0")>("npm:vega@6.4.0");
  // deno-lint-ignore no-explicit-any -- Vega's own type of a specification does not take literals
  const view = new vega.View(vega.parse(specification as any), { renderer: "none" });
  try {
    const svg = await view.toSVG();
    const name = escapeXml(title ?? defaultTitle);
    return svg.replace(
      /^<svg [^>]*>/,
      (open) => `${open.slice(0, -1)} role="img"><title>${name}</title>${themeStyle()}`,
    );
  } finally {
    view.finalize();
  }
}

/** A picture whose pixels are indices of a palette: one byte per pixel, which deflates well. */
interface IndexedImage {
  width: number;
  height: number;
  /** One index per pixel, row by row. */
  pixels: Uint8Array;
  /** At most 256 colours: red, green, blue and opacity, 0 to 255. Only the first may be transparent. */
  palette: number[][];
}

/** Encodes a picture as a PNG file. */
export async function encodePng({ width, height, pixels, palette }: IndexedImage) {
  const { encode } = await importLate<typeof import("npm:fast-png@8.0.0")>("npm:fast-png@8.0.0");
  const image = { width, height, data: pixels, depth: 8 as const, channels: 1, palette };
  return encode(image, { zlib: { level: 9 } });
}

/** The signature, and of the header chunk the length and name; width, height, depth, colour type and more follow. */
const PNG_START = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

/**
 * Returns the size and number of channels of a PNG file.
 *
 * @throws {TypeError} where the bytes are no PNG file
 */
export function readPngHeader(
  png: Uint8Array,
): { width: number; height: number; channels: number } {
  const isStart = (character: string, i: number) => png[i] === character.charCodeAt(0);
  if (png.length < 33 || !Array.from(PNG_START).every(isStart)) {
    throw new TypeError(`image: expected a PNG file but got ${png.length} bytes of something else`);
  }
  const view = new DataView(png.buffer, png.byteOffset);
  // Greyscale, RGB, palette, greyscale with alpha, RGB with alpha.
  const channels = ({ 0: 1, 2: 3, 3: 3, 4: 2, 6: 4 } as Record<number, number>)[png[25]!];
  if (channels === undefined) {
    throw new TypeError(`image: expected colour type 0, 2, 3, 4 or 6 but got ${png[25]}`);
  }
  const [width, height] = [view.getInt32(16), view.getInt32(20)];
  if (width < 1 || height < 1) {
    throw new TypeError(`image: expected a size of 1 x 1 or more but got ${width} x ${height}`);
  }
  return { width, height, channels };
}
