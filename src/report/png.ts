// PNG files by fast-png, which is used here and nowhere else, and is fetched only when there is
// something to encode.

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
  const { encode } = await import("npm:fast-png@8.0.0");
  const image = { width, height, data: pixels, depth: 8 as const, channels: 1, palette };
  return encode(image, { zlib: { level: 9 } });
}
