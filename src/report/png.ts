// PNG files by fast-png, which is used here and nowhere else, and is fetched only when there is
// something to encode.
import { importLate } from "../io/late_import.ts";

/** A picture whose pixels are indices of a palette: one byte a pixel, which deflates well. */
export interface IndexedImage {
  width: number;
  height: number;
  /** An index a pixel, row by row. */
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

/**
 * Size and number of channels of a PNG file's picture.
 *
 * @throws {TypeError} where the bytes are no PNG file
 */
export function readPngHeader(
  png: Uint8Array,
): { width: number; height: number; channels: number } {
  // Signature, then the header's chunk: length, "IHDR", width, height, depth, type of colour ...
  const start = [
    0x89,
    0x50,
    0x4e,
    0x47,
    0x0d,
    0x0a,
    0x1a,
    0x0a,
    0,
    0,
    0,
    13,
    0x49,
    0x48,
    0x44,
    0x52,
  ];
  if (png.length < 33 || start.some((byte, i) => png[i] !== byte)) {
    throw new TypeError(`image: expected a PNG file but got ${png.length} bytes of something else`);
  }
  const view = new DataView(png.buffer, png.byteOffset);
  // Greyscale, colours, a palette of colours, greyscale with opacity, colours with opacity.
  const channels = ({ 0: 1, 2: 3, 3: 3, 4: 2, 6: 4 } as Record<number, number>)[png[25]!];
  if (channels === undefined) {
    throw new TypeError(`PNG file has the unknown colour type ${png[25]}`);
  }
  const [width, height] = [view.getInt32(16), view.getInt32(20)];
  if (width < 1 || height < 1) throw new TypeError(`PNG file has the size ${width} x ${height}`);
  return { width, height, channels };
}
