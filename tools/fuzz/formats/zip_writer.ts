/**
 * The writer of zip archives that the seeds are made with.
 *
 * @module
 */
import { TextReader, Uint8ArrayWriter, ZipWriter } from "npm:@zip.js/zip.js@2.24.0";

/** A zip archive of texts by their names. */
export async function zipOf(
  files: Readonly<Record<string, string>>,
  options: { readonly level?: number; readonly zip64?: boolean } = {},
): Promise<Uint8Array> {
  const writer = new ZipWriter(new Uint8ArrayWriter(), { ...options, useWebWorkers: false });
  for (const [name, text] of Object.entries(files)) await writer.add(name, new TextReader(text));
  return await writer.close();
}
