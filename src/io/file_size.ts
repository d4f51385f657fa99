/**
 * The sizes of files.
 *
 * @module
 */

/** Returns the size of a file in bytes; undefined if there is none. */
export async function fileSize(path: string): Promise<number | undefined> {
  try {
    return (await Deno.stat(path)).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
