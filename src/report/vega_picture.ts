// Charts as SVG by Vega, which needs no browser, no canvas and no permission. It is used here and
// nowhere else, and is fetched only when a picture is drawn.
import { importLate } from "../io/late_import.ts";
import { escapeXml, THEME, themeStyle } from "./picture_theme.ts";

/** Distinct to colour-blind eyes, and readable on white as on near-black. */
export const COLOURS = ["#2f81d6", "#e0761a", "#1a9d74", "#c25a9c", "#8a7fd6", "#a8890f"];

/** The light colours; {@linkcode vegaPicture} exchanges them where the reader's scheme is dark. */
export const [BACKGROUND, INK, LINE, GRID] = Object.values(THEME).map(([light]) => light);

/** Looks of all axes. */
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

/** A picture of panels side by side. */
export interface VegaPicture {
  /** Heading of the picture. */
  title?: string | undefined;
  /** Name of the picture for screen readers, where it has no heading. */
  defaultTitle: string;
  /** Group marks, one a panel, each with its own width, height, data, scales and axes. */
  panels: unknown[];
  /** Scales that the legends name. */
  scales?: unknown[];
  /** Legends above the panels. */
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
