// TensorBoard's event files: TFRecords (length, CRC, data, CRC) of protobuf `Event` messages.
// Messages: tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto.
import { toPath } from "../io/byte_source.ts";
import { shown } from "../io/json_text.ts";
import { importLate } from "../io/late_import.ts";
import { join } from "../io/node_builtins.ts";
import { writeAllSync } from "../io/write_all.ts";
import { readPngHeader } from "./pictures.ts";

type Protobuf = typeof import("npm:@bufbuild/protobuf@2.17.0/wire");
type Writer = InstanceType<Protobuf["BinaryWriter"]>;

// Field numbers and wire types of the messages below.
const VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5;
const DT_STRING = 7;
const SESSION_START = 1;

/** Options of {@linkcode EventFile.open}. */
export interface EventFileOptions {
  /**
   * The first step that this run writes. TensorBoard then drops what an interrupted run had written from this step on,
   * instead of drawing a line backwards. Pass 0 for a run that starts again in a folder that may have been used.
   */
  resumeStep?: number;
}

/**
 * Writes scalars, texts, histograms and images for TensorBoard (`tensorboard --logdir <folder>`). Each call writes its
 * whole record at once, so that a killed run loses nothing and TensorBoard can follow a run. A resumed run opens a new
 * file in the same folder; TensorBoard joins them.
 */
export class EventFile implements Disposable {
  /** The path of the file. */
  readonly path: string;
  #file: Deno.FsFile | undefined;
  #protobuf: Protobuf;

  private constructor(path: string, file: Deno.FsFile, protobuf: Protobuf) {
    this.path = path;
    this.#file = file;
    this.#protobuf = protobuf;
  }

  /** Starts a new event file in a folder, which is created if it is missing. */
  static async open(folder: string | URL, options?: EventFileOptions): Promise<EventFile> {
    const protobuf = await importLate<Protobuf>("npm:@bufbuild/protobuf@2.17.0/wire");
    await Deno.mkdir(toPath(folder), { recursive: true });
    // TensorBoard requires "tfevents" in the name, and reads the files of a folder in the order of their names.
    const seconds = String(Math.floor(Date.now() / 1000)).padStart(10, "0");
    let file: Deno.FsFile | undefined;
    let path = "";
    for (let count = 0; file === undefined; count++) {
      const name = `events.out.tfevents.${seconds}.dinograd.${Deno.pid}.${count}`;
      path = join(toPath(folder), name);
      try {
        file = await Deno.open(path, { append: true, createNew: true });
      } catch (error) {
        if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
      }
    }
    const events = new EventFile(path, file, protobuf);
    events.#event(0, (event) => event.tag(3, BYTES).string("brain.Event:2"));
    if (options?.resumeStep !== undefined) {
      events.#event(options?.resumeStep, (event) => {
        event.tag(7, BYTES).fork().tag(1, VARINT).int32(SESSION_START).join();
      });
    }
    return events;
  }

  /** Adds a point to a curve; a tag like `loss/train` creates a group. */
  scalar(tag: string, value: number, step: number): void {
    this.scalars({ [tag]: value }, step);
  }

  /** Adds a point to each of several curves. NaN and infinities are written as they are. */
  scalars(values: Record<string, number>, step: number): void {
    this.#event(step, (event) => {
      const summary = event.tag(5, BYTES).fork();
      for (const [tag, value] of Object.entries(values)) {
        summary.tag(1, BYTES).fork().tag(1, BYTES).string(tag).tag(2, FIXED32).float(
          Math.fround(value),
        ).join();
      }
      summary.join();
    });
  }

  /** Adds a text, shown as Markdown, such as samples or the configuration. */
  text(tag: string, text: string, step: number): void {
    this.#event(step, (event) => {
      const value = event.tag(5, BYTES).fork().tag(1, BYTES).fork().tag(1, BYTES).string(tag);
      // Value.metadata.plugin_data.plugin_name
      value.tag(9, BYTES).fork().tag(1, BYTES).fork().tag(1, BYTES).string("text").join().join();
      // Value.tensor: a scalar of type string
      value.tag(8, BYTES).fork()
        .tag(1, VARINT).int32(DT_STRING)
        .tag(2, BYTES).fork().join()
        .tag(8, BYTES).string(text).join();
      value.join().join();
    });
  }

  /** Adds a text verbatim, line by line, such as verse or a table. */
  lines(tag: string, text: string, step: number): void {
    // Longer than all of the text, which would end the block.
    const length = Array.from(text.matchAll(/~+/g)).reduce(
      (most, [run]) => Math.max(most, run.length),
      2,
    );
    const fence = "~".repeat(length + 1);
    this.text(tag, `${fence}\n${text}\n${fence}`, step);
  }

  /**
   * Adds the distribution of some values, such as a weight or its gradient, which TensorBoard shows under "Histograms"
   * and "Distributions".
   *
   * @throws {RangeError} where there is no value, or one is not finite
   */
  histogram(tag: string, values: ArrayLike<number>, step: number): void {
    this.histograms({ [tag]: values }, step);
  }

  /**
   * Adds several distributions at once: all weights of a model, or all gradients. A tag like
   * `weights/h.0.attn.c_attn.weight` creates a group.
   *
   * @throws {RangeError} where one has no value, or a value that is not finite; nothing is written
   */
  histograms(values: Record<string, ArrayLike<number>>, step: number): void {
    const histograms = Object.entries(values).map(([tag, values]) => {
      try {
        return [tag, countValues(values)] as const;
      } catch (error) {
        throw new RangeError(`EventFile: histogram ${shown(tag)}: ${(error as Error).message}`);
      }
    });
    this.#event(step, (event) => {
      const summary = event.tag(5, BYTES).fork();
      for (const [tag, histogram] of histograms) {
        const value = summary.tag(1, BYTES).fork().tag(1, BYTES).string(tag);
        writeHistogram(value.tag(5, BYTES).fork(), histogram);
        value.join().join();
      }
      summary.join();
    });
  }

  /**
   * Adds an image, such as one from {@linkcode attentionPng}.
   *
   * @throws {TypeError} where the bytes are no PNG file
   */
  image(tag: string, png: Uint8Array, step: number): void {
    const { width, height, channels } = readPngHeader(png);
    this.#event(step, (event) => {
      const value = event.tag(5, BYTES).fork().tag(1, BYTES).fork().tag(1, BYTES).string(tag);
      value.tag(4, BYTES).fork()
        .tag(1, VARINT).int32(height)
        .tag(2, VARINT).int32(width)
        .tag(3, VARINT).int32(channels)
        .tag(4, BYTES).bytes(png)
        .join();
      value.join().join();
    });
  }

  /** Waits until everything is on disk. */
  async flush(): Promise<void> {
    await this.#file?.sync();
  }

  /** Closes the file; a second call does nothing. */
  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  /** Closes the file at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  #event(step: number, fill: (event: Writer) => void): void {
    if (this.#file === undefined) {
      throw new Error(`${this.path}: expected an open file but got a closed one`);
    }
    if (!Number.isSafeInteger(step)) {
      throw new RangeError(`EventFile: expected an integer step but got ${step}`);
    }
    const event = new this.#protobuf.BinaryWriter()
      .tag(1, FIXED64).double(Date.now() / 1000)
      .tag(2, VARINT).int64(step);
    fill(event);
    writeAllSync(this.#file, encodeRecord(event.finish()), this.path);
  }
}

/**
 * Writes a HistogramProto, the form of TensorFlow 1 and of PyTorch. TensorBoard converts it to its own tensors as it
 * reads (tensorboard/data_compat.py), so it needs no plugin metadata.
 */
function writeHistogram(message: Writer, histogram: ValueHistogram): void {
  const { min, max, num, sum, sumSquares, limits, counts } = histogram;
  for (const [i, value] of [min, max, num, sum, sumSquares].entries()) {
    message.tag(i + 1, FIXED64).double(value);
  }
  for (const [field, values] of [[6, limits], [7, counts]] as const) {
    message.tag(field, BYTES).fork();
    for (const value of values) message.double(value);
    message.join();
  }
}

/** Encodes a TFRecord: length (8 bytes), its masked CRC, the data, its masked CRC. */
function encodeRecord(data: Uint8Array): Uint8Array {
  const record = new Uint8Array(8 + 4 + data.byteLength + 4);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(data.byteLength), true);
  view.setUint32(8, maskedCrc32c(record.subarray(0, 8)), true);
  record.set(data, 12);
  view.setUint32(12 + data.byteLength, maskedCrc32c(data), true);
  return record;
}

// The contents of TensorBoard's histograms: counts between limits that grow by a tenth, as in TensorFlow's own
// (tensorflow/core/lib/histogram/histogram.cc), so that tiny gradients can be told apart, too.

/** Counts of values, with the sums of TensorBoard's `HistogramProto`. */
interface ValueHistogram {
  min: number;
  max: number;
  /** The number of values. */
  num: number;
  sum: number;
  sumSquares: number;
  /** The upper limit of each bucket, ascending. A value is in the first bucket whose limit is above it. */
  limits: number[];
  /** The number of values in each bucket. */
  counts: number[];
}

const LIMITS = (() => {
  const positive: number[] = [];
  for (let limit = 1e-12; limit < 1e20; limit *= 1.1) positive.push(limit);
  positive.push(Number.MAX_VALUE);
  return Float64Array.of(...positive.map((limit) => -limit).reverse(), 0, ...positive);
})();

/**
 * Counts values; empty buckets are only kept between others.
 *
 * @throws {RangeError} where there is no value, or one is not finite
 */
function countValues(values: ArrayLike<number>): ValueHistogram {
  if (values.length === 0) throw new RangeError("expected at least one value but got none");
  const buckets = new Float64Array(LIMITS.length);
  let [min, max, sum, sumSquares] = [Infinity, -Infinity, 0, 0];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!Number.isFinite(value)) {
      throw new RangeError(`expected finite values but got ${value} at ${i} of ${values.length}`);
    }
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
    sumSquares += value * value;
    buckets[bucketOf(value)]!++;
  }
  const begin = bucketOf(min);
  const end = bucketOf(max) + 1;
  return {
    min,
    max,
    num: values.length,
    sum,
    sumSquares,
    limits: [...LIMITS.subarray(begin, end)],
    counts: [...buckets.subarray(begin, end)],
  };
}

/** Returns the index of the first limit above a value. */
function bucketOf(value: number): number {
  let low = 0;
  let high = LIMITS.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (LIMITS[middle]! > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

// CRC-32C (Castagnoli, RFC 3720 appendix B.4), one byte at a time; TensorBoard's records are small.
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** Returns the CRC-32C of bytes, as an unsigned 32-bit number. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ TABLE[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}

/**
 * Returns the CRC-32C as the TFRecord format stores it: rotated and shifted, so that a CRC can itself be checksummed.
 */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
