/** What a dataset's file in `data/` says about it; the corpus itself is never kept here. */
export interface Dataset {
  /** Name for people. */
  name: string;
  /** Where it comes from: a URL or an `npm:` specifier. */
  source: string;
  /** Length of the UTF-8 text in bytes. */
  bytes: number;
  /** SHA-256 of those bytes, as 64 hexadecimal digits. */
  sha256: string;
  /** Under what terms it may be used. */
  licence: string;
}

/**
 * Checks that bytes are a dataset's, and returns them.
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
