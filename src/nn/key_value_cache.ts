/**
 * The key-value cache of a decoder, which makes the next token cost one position instead of all of them.
 *
 * @module
 */
import { writeInt8Rows } from "../../kernels/indexing/write_int8_rows.ts";
import { writeRows } from "../../kernels/indexing/write_rows.ts";
import type { Device } from "../device/device.ts";
import { BYTES, type DType } from "../device/dtype.ts";
import { int8Words } from "../device/quantised.ts";
import { embedding } from "../ops/index.ts";
import { part } from "../ops/launch.ts";
import { slice } from "../ops/shape.ts";
import { constant, tensor } from "../tensor/create.ts";
import { unscoped } from "../tensor/scope.ts";
import { formatShape } from "../tensor/shape.ts";
import { noGrad } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";

/** Types of keys and values that a model can be told to keep. */
export type CacheDType = "f32" | "f16" | "int8";

/** Options of {@linkcode KeyValueCache}. */
export interface KeyValueCacheOptions {
  /** The device. */
  readonly device: Device;
  /**
   * The dtype of keys and values. Default: `f32`. In `int8`, each head of each position has its own scale, the largest
   * magnitude divided by 127: a byte for each number and four for the scale.
   */
  readonly dtype?: DType | "int8" | undefined;
  /** The number of sequences. */
  readonly batch: number;
  /** The number of self-attention layers. */
  readonly layers: number;
  /** The number of key and value heads. */
  readonly kvHeads: number;
  /** The size of a head. */
  readonly headSize: number;
  /** The maximum number of positions of a sequence. */
  readonly contextSize: number;
  /** The number of positions allocated at a time. Default: 64. */
  readonly step?: number;
}

/** The positions that a forward pass adds. */
export interface NewPositions {
  /** The position of the first new token; where the rows differ, that of the longest row. */
  readonly position: number;
  /**
   * The position of each row's new token, (B) of `i32`, where the rows differ; or of each token in its document, (B, T),
   * where a row consists of several.
   */
  readonly positions?: Tensor | undefined;
}

/** What attention reads. The tensors are longer than the filled part, which `keyLength` and `positions` give. */
export interface CachedKeys {
  /** (B, capacity, Hkv, D); of `int8`, words of `u32`, (B, capacity, Hkv, ceil(D / 4) + 1). */
  readonly keys: Tensor;
  /** Like `keys`. */
  readonly values: Tensor;
  /** The number of positions filled in the longest row. */
  readonly keyLength: number;
  /** Like {@linkcode NewPositions.positions}. */
  readonly positions: Tensor | undefined;
}

/** The part of a key-value cache that belongs to one layer. */
export interface LayerCache {
  /** Writes the keys and values (B, T, Hkv, D) of the new positions, and returns those of all positions. */
  append(keys: Tensor, values: Tensor): CachedKeys;
}

/**
 * The keys and values of every layer, and the length of each sequence. The cache grows in steps up to the context. Its
 * rows can be reordered, repeated and dropped ({@linkcode KeyValueCache.select}), copied from other caches
 * ({@linkcode KeyValueCache.add}) and removed ({@linkcode KeyValueCache.remove}). A model may keep further tensors in
 * it that belong to its rows, such as the cross-attention of a translator.
 *
 * A forward pass calls {@linkcode KeyValueCache.extend} once and {@linkcode LayerCache.append} in each layer. The
 * prompts of a batch may differ in length: they are padded on the right, and afterwards each row continues from its own
 * end, one token at a time.
 */
export class KeyValueCache implements Disposable {
  /** The device. */
  readonly device: Device;
  readonly #options: KeyValueCacheOptions & {
    readonly dtype: DType | "int8";
    readonly step: number;
  };
  /** What a head of one position is stored as. */
  readonly #head: { readonly dtype: DType; readonly size: number };
  readonly #held = new Map<string, Tensor>();
  /** The number of positions of each row. */
  #lengths: number[];
  /** Whether each row continues from its own end. */
  #uneven = false;
  /** Allocated rows and positions. */
  #rows: number;
  #capacity = 0;
  /**
   * What the current pass adds: the number of positions per row, the first one, and the first one of each row where
   * they differ.
   */
  #added = 0;
  #position = 0;
  #positions: Tensor | undefined;
  #keys: Tensor[] = [];
  #values: Tensor[] = [];

  /** Creates an empty cache. */
  constructor(options: KeyValueCacheOptions) {
    const { dtype = "f32", headSize } = options;
    this.#options = { step: 64, ...options, dtype };
    this.#head = dtype === "int8"
      ? { dtype: "u32", size: int8Words(headSize) }
      : { dtype, size: headSize };
    this.device = options.device;
    this.#rows = options.batch;
    this.#lengths = new Array<number>(options.batch).fill(0);
  }

  /** The number of sequences. */
  get batch(): number {
    return this.#lengths.length;
  }

  /** The length of the longest sequence. */
  get length(): number {
    return Math.max(0, ...this.#lengths);
  }

  /** The length of each sequence. */
  get lengths(): readonly number[] {
    return this.#lengths;
  }

  /** The number of self-attention layers. */
  get layers(): number {
    return this.#options.layers;
  }

  /** The number of positions allocated so far. */
  get capacity(): number {
    return this.#capacity;
  }

  /** The bytes of its keys and values. */
  get bytes(): number {
    return this.#bytesOf(this.#rows, this.#capacity);
  }

  /** The bytes that keys and values take with a capacity of `rows` rows of `positions` positions. */
  bytesFor(rows: number, positions: number): number {
    return this.#bytesOf(...this.#sizeFor(rows, positions));
  }

  /**
   * Makes room for `time` more positions in every row and returns where they are. `lengths` is how many of them belong
   * to each row, if not all; the rest is padding on the right. Throws a `RangeError` beyond the context, and an `Error`
   * for more than one token if the rows already differ in length.
   */
  extend(time: number, lengths?: readonly number[]): NewPositions {
    const { contextSize } = this.#options;
    const position = this.length;
    if (position + time > contextSize) {
      throw new RangeError(
        `KeyValueCache: expected at most ${contextSize} positions but got ${time} after ${position}`,
      );
    }
    if (this.#uneven && time !== 1) {
      throw new Error(
        `KeyValueCache: expected one token at a time, as rows are of unequal length, but got ${time}`,
      );
    }
    const unequal = lengths?.some((length) => length !== time);
    if (unequal && position > 0) {
      throw new Error(
        "KeyValueCache: expected padding in the first tokens of a sequence only but got some later",
      );
    }
    if (lengths && lengths.length !== this.batch) {
      throw new TypeError(
        `KeyValueCache: expected ${this.batch} lengths, one a row, but got ${lengths.length}`,
      );
    }
    this.#grow(this.batch, position + time);
    this.#added = time;
    this.#position = position;
    this.#positions?.dispose();
    this.#positions = this.#uneven
      ? this.#own(() => tensor(Int32Array.from(this.#lengths), { device: this.device }))
      : undefined;
    this.#lengths = this.#lengths.map((length, row) => length + (lengths?.[row] ?? time));
    if (unequal) this.#uneven = true;
    return { position, positions: this.#positions };
  }

  /** The part of layer `index`, counted from 0. */
  layer(index: number): LayerCache {
    return {
      append: (keys, values) => {
        const { kvHeads, headSize } = this.#options;
        const shape = [this.batch, this.#added, kvHeads, headSize];
        for (const x of [keys, values]) {
          if (formatShape(x.shape) !== formatShape(shape)) {
            throw new TypeError(
              `KeyValueCache: expected keys and values ${formatShape(shape)} but got ${
                formatShape(x.shape)
              }`,
            );
          }
          if (x.requiresGrad) {
            throw new Error(
              "KeyValueCache: expected keys and values without a gradient but got some with one; use noGrad",
            );
          }
        }
        this.#write(keys, this.#keys[index]!);
        this.#write(values, this.#values[index]!);
        return {
          keys: this.#inUse(this.#keys[index]!),
          values: this.#inUse(this.#values[index]!),
          keyLength: this.#position + this.#added,
          positions: this.#positions,
        };
      },
    };
  }

  /** Keeps a tensor whose first axis is the rows. The cache owns it from now on. */
  hold(name: string, tensor: Tensor): void {
    if (tensor.shape[0] !== this.batch) {
      throw new TypeError(
        `KeyValueCache: expected ${this.batch} rows in "${name}" but got ${
          formatShape(tensor.shape)
        }`,
      );
    }
    this.#held.get(name)?.dispose();
    this.#held.set(name, tensor.keep());
  }

  /** The tensor kept under a name. */
  held(name: string): Tensor | undefined {
    return this.#held.get(name);
  }

  /**
   * Replaces the rows by the given ones, which may be reordered, repeated or left out, as beam search needs. Throws a
   * `RangeError` for a row that does not exist.
   */
  select(rows: readonly number[]): void {
    for (const row of rows) this.#checkRow(row);
    if (rows.length === this.#rows && rows.every((row, i) => row === i)) return;
    this.#own(() => {
      using ids = tensor(Int32Array.from(rows), { device: this.device });
      const taken = (x: Tensor): Tensor => {
        const count = x.shape[0]!;
        using table = x.alias([count, x.size / count]);
        using flat = embedding(table, ids);
        x.dispose();
        return flat.alias([rows.length, ...x.shape.slice(1)]);
      };
      this.#keys = this.#keys.map(taken);
      this.#values = this.#values.map(taken);
      for (const [name, x] of this.#held) this.#held.set(name, taken(x));
    });
    this.#lengths = rows.map((row) => this.#lengths[row]!);
    this.#rows = rows.length;
  }

  /**
   * Appends copies of the rows of another cache. From then on each row continues from its own end, one token at a time.
   * Throws a `TypeError` for a cache of other sizes, and an `Error` if either of them holds further tensors.
   */
  add(other: KeyValueCache): void {
    this.#checkAlike(other);
    this.#addRows(other, other.#lengths);
    this.#uneven = true;
  }

  /**
   * Removes a row; the last row takes its place. Throws a `RangeError` for a row that does not exist, and an `Error` if
   * further tensors are held.
   */
  remove(row: number): void {
    this.#checkRow(row);
    this.#checkAlike(this);
    const last = this.batch - 1;
    if (row !== last) {
      const length = this.#lengths[last]!;
      this.#own(() => this.#eachTensor(this, (x) => this.#copyRow(x, last, x, row, length)));
      this.#lengths[row] = length;
    }
    this.#lengths.pop();
  }

  /**
   * Returns a copy of the first `length` positions of every row. Throws like {@linkcode KeyValueCache.truncate} and
   * `add`.
   */
  prefix(length: number): KeyValueCache {
    this.#checkLength(length);
    this.#checkAlike(this);
    const copy = new KeyValueCache({ ...this.#options, batch: 0 });
    try {
      copy.#addRows(this, this.#lengths.map(() => length));
      return copy;
    } catch (error) {
      copy.dispose();
      throw error;
    }
  }

  /**
   * Drops the positions from `length` on, such as those of rejected tokens. Throws a `RangeError` if the cache is
   * shorter, and an `Error` if the rows differ in length.
   */
  truncate(length: number): void {
    this.#checkLength(length);
    this.#lengths.fill(length);
  }

  /** Drops all positions, but keeps the memory and the held tensors. */
  clear(): void {
    this.#lengths.fill(0);
    this.#uneven = false;
    this.#positions?.dispose();
    this.#positions = undefined;
  }

  /** Frees everything. */
  dispose(): void {
    for (const x of [...this.#keys, ...this.#values, ...this.#held.values()]) x.dispose();
    this.#keys = this.#values = [];
    this.#held.clear();
    this.#capacity = 0;
    this.clear();
  }

  /** The same as {@linkcode KeyValueCache.dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Runs code that makes tensors for the cache to own. */
  #own<R>(body: () => R): R {
    return unscoped(() => noGrad(body));
  }

  /** The rows and positions to allocate when this many are needed: rows double, positions grow in steps. */
  #sizeFor(rows: number, positions: number): [rows: number, capacity: number] {
    const { contextSize, step } = this.#options;
    return [
      rows > this.#rows ? Math.max(rows, 2 * this.#rows) : this.#rows,
      positions > this.#capacity
        ? Math.min(contextSize, Math.ceil(positions / step) * step)
        : this.#capacity,
    ];
  }

  #bytesOf(rows: number, capacity: number): number {
    const { layers, kvHeads } = this.#options;
    const { dtype, size } = this.#head;
    return 2 * layers * rows * capacity * kvHeads * size * BYTES[dtype];
  }

  #grow(neededRows: number, neededPositions: number): void {
    const { device, layers, kvHeads } = this.#options;
    const { dtype, size } = this.#head;
    const [rows, capacity] = this.#sizeFor(neededRows, neededPositions);
    if (rows === this.#rows && capacity === this.#capacity) return;
    const width = kvHeads * size;
    this.#own(() => {
      const longer = (x: Tensor | undefined): Tensor => {
        // Zeros: where rows differ in length, tiles reach past the end of a row, and a weight of 0 does not hide a NaN.
        const y = constant(device, [rows, capacity, kvHeads, size], 0, dtype);
        if (x) {
          const [batch, time] = x.shape as [number, number];
          const place = part(y, 0, batch * capacity * width);
          const params = { batch, time, width, capacity, position: 0 };
          device.launch(writeRows, { x, y: place }, params);
          x.dispose();
        }
        return y;
      };
      for (let i = 0; i < layers; i++) {
        this.#keys[i] = longer(this.#keys[i]);
        this.#values[i] = longer(this.#values[i]);
      }
    });
    this.#rows = rows;
    this.#capacity = capacity;
  }

  /** The rows of a tensor that are in use, which come first. */
  #inUse(x: Tensor): Tensor {
    if (this.#rows === this.batch) return x;
    const shape = [this.batch, ...x.shape.slice(1)];
    return Tensor.within(x.buffer, x.offset, shape, x.dtype, () => {});
  }

  /** Calls `visit` with every tensor of keys or values and its counterpart in another cache. */
  #eachTensor(other: KeyValueCache, visit: (own: Tensor, others: Tensor) => void): void {
    this.#keys.forEach((keys, i) => visit(keys, other.#keys[i]!));
    this.#values.forEach((values, i) => visit(values, other.#values[i]!));
  }

  /** Copies the given number of positions of each row of another cache into new rows. */
  #addRows(other: KeyValueCache, lengths: readonly number[]): void {
    const first = this.batch;
    this.#grow(first + other.batch, Math.max(0, ...lengths));
    this.#own(() =>
      lengths.forEach((length, row) =>
        this.#eachTensor(other, (to, from) => this.#copyRow(from, row, to, first + row, length))
      )
    );
    this.#lengths.push(...lengths);
  }

  /** Copies the first `time` positions of a row of `from` into a row of `to`, which may be the same tensor. */
  #copyRow(from: Tensor, row: number, to: Tensor, place: number, time: number): void {
    if (time === 0) return;
    using x = slice(from, [[row, row + 1], [0, time]]);
    const width = x.size / time;
    // Treated as one long sequence, so that the row need not start at an aligned offset.
    const [rows, capacity] = to.shape as [number, number];
    const params = { batch: 1, time, width, capacity: rows * capacity, position: place * capacity };
    this.device.launch(writeRows, { x, y: to }, params);
  }

  #write(x: Tensor, y: Tensor): void {
    const positions = this.#positions;
    const { kvHeads: heads, headSize: d } = this.#options;
    const { size } = this.#head;
    const position = positions ? 0 : this.#position;
    const place = part(y, 0, this.batch * this.#capacity * heads * size);
    const bindings = { x, positions, y: place };
    const common = { batch: this.batch, time: this.#added, capacity: this.#capacity, position };
    if (this.#options.dtype === "int8") {
      this.device.launch(writeInt8Rows, bindings, { ...common, heads, d, words: size });
    } else this.device.launch(writeRows, bindings, { ...common, width: heads * d });
  }

  #checkRow(row: number): void {
    if (Number.isInteger(row) && row >= 0 && row < this.batch) return;
    throw new RangeError(
      `KeyValueCache: expected rows from 0 to ${this.batch - 1} but got ${row}`,
    );
  }

  #checkLength(length: number): void {
    if (!(Number.isInteger(length) && length >= 0 && length <= this.length)) {
      throw new RangeError(
        `KeyValueCache: expected a length from 0 to ${this.length} but got ${length}`,
      );
    }
    if (this.#uneven) {
      throw new Error("KeyValueCache.truncate: expected rows of equal length but got unequal ones");
    }
  }

  /** Throws unless rows of the other cache fit into this one. */
  #checkAlike(other: KeyValueCache): void {
    const sizes = ({ dtype, layers, kvHeads, headSize }: KeyValueCacheOptions) =>
      `${layers} layers of ${kvHeads} heads of ${headSize} in ${dtype}`;
    const [own, others] = [sizes(this.#options), sizes(other.#options)];
    if (own !== others || this.device !== other.device) {
      throw new TypeError(
        `KeyValueCache: expected a cache of ${own} on this device but got ${others} on ${other.device.kind}`,
      );
    }
    if (this.#held.size + other.#held.size > 0) {
      throw new Error("KeyValueCache: expected no further tensors in caches whose rows move");
    }
  }
}
