/** The description of a dataset in its file in `data/`; the corpus itself is never kept there. */
export interface Dataset {
  /** The name, for display. */
  name: string;
  /** The source: a URL or an `npm:` specifier. */
  source: string;
  /** The length of the UTF-8 text in bytes. */
  bytes: number;
  /** The SHA-256 of those bytes, as 64 hexadecimal digits. */
  sha256: string;
  /** The terms of use. */
  licence: string;
}

/**
 * Checks that bytes are those of a dataset, and returns them.
 *
 * @throws {Error} where length or SHA-256 differ; `from` names the place the bytes came from
 */
export async function checkDataset(
  bytes: Uint8Array<ArrayBuffer>,
  dataset: Dataset,
  from: string = dataset.source,
): Promise<Uint8Array<ArrayBuffer>> {
  if (bytes.byteLength !== dataset.bytes) {
    throw new Error(
      `${from}: expected ${dataset.bytes} bytes of ${dataset.name} but got ${bytes.byteLength}`,
    );
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
  if (digest !== dataset.sha256) {
    throw new Error(
      `${from}: expected ${dataset.name} with SHA-256 ${dataset.sha256} but got ${digest}`,
    );
  }
  return bytes;
}
