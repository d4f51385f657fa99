// Labels of a heat map's axis: tokens, or positions where there are none.
import { escapedControl } from "./format.ts";

/** Pixels: size of the text, width of one of its (monospaced) characters. */
export const LABEL_SIZE = 11;
const CHARACTER = LABEL_SIZE * 0.6;
/** Least pixels from one token to the next, and from one position to the next. */
const TOKEN_PITCH = 12;
const POSITION_PITCH = 32;
/** Characters of a token that are shown. */
const MAX_LENGTH = 14;

/** One label. */
export interface AxisLabel {
  /** Index on the axis. */
  index: number;
  /** What is written there. */
  text: string;
}

/**
 * The labels of an axis of `size` places over `pixels` pixels. Where there is not room for all,
 * every second, third ... token is named, and every power of two of the positions.
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

/** Width of the widest label in pixels. */
export function widestLabel(labels: readonly AxisLabel[]): number {
  return Math.ceil(Math.max(0, ...labels.map(({ text }) => [...text].length)) * CHARACTER);
}

/**
 * A token as it can be read in a label: spaces as `·`, line breaks as `↵`, tabs as `→`, other
 * control characters by their code, and no more than its beginning.
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
