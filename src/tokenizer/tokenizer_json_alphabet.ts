/**
 * How byte-level tokenizers write bytes as text: each as one printable character (Radford et al. 2019, `encoder.py` of
 * the code release). Bytes that are printable in Latin-1 are themselves, the others come after U+0100 in order.
 *
 * @module
 */

/** The character of each byte. */
export const BYTE_CHARACTERS: readonly string[] = makeCharacters();

const BYTES: ReadonlyMap<string, number> = new Map(
  BYTE_CHARACTERS.map((character, byte) => [character, byte]),
);

/** The bytes that a text of this alphabet stands for; undefined where a character is not of it. */
export function bytesOfAlphabet(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = BYTES.get(text[i]!);
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

/** Bytes as a text of this alphabet. */
export function textOfBytes(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += BYTE_CHARACTERS[byte];
  return text;
}

function makeCharacters(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
    return String.fromCharCode(printable ? byte : next++);
  });
}
