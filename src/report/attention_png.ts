import { type AttentionLayer, attentionScale, checkLayers, headMap } from "./attention_layer.ts";
import { enlarged, palette, shadesOf } from "./heat_map.ts";
import { encodePng } from "./png.ts";

// Sizes in pixels.
const SIDE = 160;
const GAP = 6;
const MAX_CELLS = 256;

/**
 * The attention heads of every layer as one PNG without labels, a row a layer and a column a head,
 * in the colours of {@linkcode attentionPicture}: for {@linkcode EventFile.image}.
 *
 * @throws {RangeError} as {@linkcode attentionPicture} does
 */
export async function attentionPng(layers: readonly AttentionLayer[]): Promise<Uint8Array> {
  checkLayers(layers);
  const scale = attentionScale(layers);
  const rows = layers.map((layer) => {
    const heads = Array.from({ length: layer.heads }, (_, head) => headMap(layer, head));
    return heads.map((head) => {
      const map = shadesOf(head, scale, MAX_CELLS);
      return enlarged(map, Math.max(1, Math.floor(SIDE / Math.max(map.width, map.height))));
    });
  });
  const mapWidth = Math.max(...rows.map(([head]) => head!.width));
  const width = GAP + Math.max(...layers.map(({ heads }) => heads)) * (mapWidth + GAP);
  const height = rows.reduce((sum, [head]) => sum + head!.height + GAP, GAP);
  const pixels = new Uint8Array(width * height);
  let top = GAP;
  for (const maps of rows) {
    for (const [head, map] of maps.entries()) {
      const left = GAP + head * (mapWidth + GAP);
      for (let y = 0; y < map.height; y++) {
        const line = map.pixels.subarray(y * map.width, (y + 1) * map.width);
        pixels.set(line, (top + y) * width + left);
      }
    }
    top += maps[0]!.height + GAP;
  }
  return await encodePng({ width, height, pixels, palette: await palette() });
}
