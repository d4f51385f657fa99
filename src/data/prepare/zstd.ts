import { stream, zlib } from "../../io/node_builtins.ts";
// Zstandard by node:zlib, which in Deno 2.9 ends silently after the first of several frames, and does not say when a
// frame is cut short. So the frames are told apart here. Format: RFC 8878, section 3.1.

const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50; // and the 15 after it
const RLE = 1, RESERVED = 3;

/**
 * The decompressed bytes of one frame after the other.
 *
 * @throws {Error} where a frame is foreign, damaged or cut short
 */
export async function* unzstd(raw: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = new ByteReader(raw);
  while (await reader.has(1)) {
    const magic = viewOf(await reader.take(4)).getUint32(0, true);
    if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE) {
      const length = viewOf(await reader.take(4)).getUint32(0, true);
      for await (const _ of reader.parts(length));
    } else if (magic === MAGIC) {
      const source = stream.Readable.from(frame(reader));
      const unzip = zlib.createZstdDecompress();
      source.on("error", (error) => unzip.destroy(error));
      yield* source.pipe(unzip);
    } else {
      throw new Error(`expected a frame but found ${magic.toString(16)}`);
    }
  }
}

/** The bytes of a frame, whose magic number has been taken. */
async function* frame(reader: ByteReader): AsyncGenerator<Uint8Array> {
  const magic = new Uint8Array(4);
  viewOf(magic).setUint32(0, MAGIC, true);
  yield magic;
  const descriptor = await reader.take(1);
  yield descriptor;
  const [flags = 0] = descriptor;
  const single = (flags >> 5) & 1;
  const sizeBytes = flags >> 6 ? 1 << (flags >> 6) : single;
  yield await reader.take(1 - single + [0, 1, 2, 4][flags & 3]! + sizeBytes);
  for (let last = false; !last;) {
    const header = await reader.take(3);
    yield header;
    const bits = header[0]! | header[1]! << 8 | header[2]! << 16;
    const type = (bits >> 1) & 3;
    if (type === RESERVED) throw new Error("a block of an unknown type");
    last = (bits & 1) === 1;
    yield* reader.parts(type === RLE ? 1 : bits >> 3);
  }
  if (flags & 4) yield await reader.take(4); // a checksum
}

/** Bytes taken from a stream by numbers. */
class ByteReader {
  readonly #raw: AsyncIterator<Uint8Array>;
  #held: Uint8Array = new Uint8Array(0);

  constructor(raw: AsyncIterable<Uint8Array>) {
    this.#raw = raw[Symbol.asyncIterator]();
  }

  /** Whether so many are left, a few. */
  async has(count: number): Promise<boolean> {
    while (this.#held.length < count) {
      const { done, value } = await this.#raw.next();
      if (done) return false;
      const longer = new Uint8Array(this.#held.length + value.length);
      longer.set(this.#held);
      longer.set(value, this.#held.length);
      this.#held = longer;
    }
    return true;
  }

  /** The next few. */
  async take(count: number): Promise<Uint8Array> {
    if (!await this.has(count)) throw new Error("ends inside a frame");
    const taken = this.#held.slice(0, count);
    this.#held = this.#held.subarray(count);
    return taken;
  }

  /** The next so many, as they come. */
  async *parts(count: number): AsyncGenerator<Uint8Array> {
    while (count > 0) {
      if (!await this.has(1)) throw new Error("ends inside a frame");
      const part = this.#held.slice(0, count);
      this.#held = this.#held.subarray(part.length);
      count -= part.length;
      yield part;
    }
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
