/**
 * The keys and values of what a decoder has read, so that the next token costs one position and not all of them.
 *
 * @module
 */
import { writeRows } from "../../kernels/indexing/write_rows.ts";
import type { Device } from "../device/device.ts";
import type { DType } from "../device/dtype.ts";
import { add } from "../ops/elementwise.ts";
import { embedding } from "../ops/index.ts";
import { constant, tensor } from "../tensor/create.ts";
import { unscoped } from "../tensor/scope.ts";
import { formatShape } from "../tensor/shape.ts";
import { noGrad } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The sizes of a {@linkcode KeyValueCache}. */
export interface KeyValueCacheOptions {
  /** The device. */
  readonly device: Device;
  /** The type of keys and values. Default: `f32`. */
  readonly dtype?: DType | undefined;
  /** Sequences. */
  readonly batch: number;
  /** Layers of self-attention. */
  readonly layers: number;
  /** Heads of keys and values. */
  readonly kvHeads: number;
  /** The size of a head. */
  readonly headSize: number;
  /** The most positions a sequence may have. */
  readonly contextSize: number;
  /** Positions that room is made for at a time. Default: 64. */
  readonly step?: number;
}

/** The positions that a forward pass adds. */
export interface NewPositions {
  /** The position of the first new token; where the rows differ, that of the row furthest on. */
  readonly position: number;
  /** The position of each row's new token, (B) of `i32`, where the rows differ. */
  readonly positions?: Tensor | undefined;
}

/** What attention reads: longer than what has been filled, which `keyLength` and `positions` tell. */
export interface CachedKeys {
  /** (B, capacity, Hkv, D). */
  readonly keys: Tensor;
  /** As `keys`. */
  readonly values: Tensor;
  /** Positions filled in the row furthest on. */
  readonly keyLength: number;
  /** As {@linkcode NewPositions.positions}. */
  readonly positions: Tensor | undefined;
}

/** The part of a cache that belongs to one layer. */
export interface LayerCache {
  /** Writes keys and values (B, T, Hkv, D) of the new positions, and gives those of all positions. */
  append(keys: Tensor, values: Tensor): CachedKeys;
}

/**
 * Keys and values of every layer, and how long each sequence is. It grows in steps up to the context, its
 * rows can be reordered, repeated and dropped ({@linkcode KeyValueCache.select}), and a model may keep further
 * tensors in it that belong to its rows, as the cross-attention of a translator.
 *
 * A forward pass calls {@linkcode KeyValueCache.extend} once and {@linkcode LayerCache.append} in each layer. The
 * rows of a batch may have prompts of unequal length: they are padded on the right, and afterwards each row
 * goes on from its own end, one token at a time.
 */
export class KeyValueCache implements Disposable {
  /** The device. */
  readonly device: Device;
  readonly #options: Required<KeyValueCacheOptions>;
  readonly #held = new Map<string, Tensor>();
  #batch: number;
  #capacity = 0;
  #length = 0;
  #added = 0;
  #keys: Tensor[] = [];
  #values: Tensor[] = [];
  /** Where the rows differ: the next position of each (B), and that of what is being added. */
  #next: Tensor | undefined;
  #positions: Tensor | undefined;

  /** An empty cache. */
  constructor(options: KeyValueCacheOptions) {
    this.#options = { dtype: "f32", step: 64, ...options };
    this.device = options.device;
    this.#batch = options.batch;
  }

  /** Sequences. */
  get batch(): number {
    return this.#batch;
  }

  /** Length of the longest sequence. */
  get length(): number {
    return this.#length;
  }

  /** Positions there is room for before it grows. */
  get capacity(): number {
    return this.#capacity;
  }

  /**
   * Makes room for `time` more positions in every row and says where they lie. `lengths` tells how many of them
   * belong to each row, where they do not all; the rest is padding on the right. Throws a `RangeError` beyond
   * the context, and an `Error` for more than one token where the rows already differ.
   */
  extend(time: number, lengths?: readonly number[]): NewPositions {
    const { contextSize } = this.#options;
    const position = this.#length;
    if (position + time > contextSize) {
      throw new RangeError(
        `KeyValueCache: expected at most ${contextSize} positions but got ${time} after ${position}`,
      );
    }
    if (this.#next && time !== 1) {
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
    if (lengths && lengths.length !== this.#batch) {
      throw new TypeError(
        `KeyValueCache: expected ${this.#batch} lengths, one a row, but got ${lengths.length}`,
      );
    }
    if (position + time > this.#capacity) this.#grow(position + time);
    this.#length = position + time;
    this.#added = time;
    this.#positions?.dispose();
    this.#positions = undefined;
    if (unequal) {
      this.#next = this.#own(() => tensor(Int32Array.from(lengths!), { device: this.device }));
    } else if (this.#next) {
      this.#positions = this.#next;
      this.#next = this.#own(() => add(this.#positions!, 1));
    }
    return { position, positions: this.#positions };
  }

  /** The part of layer `index`, counted from 0. */
  layer(index: number): LayerCache {
    return {
      append: (keys, values) => {
        const { kvHeads, headSize } = this.#options;
        const shape = [this.#batch, this.#added, kvHeads, headSize];
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
          keys: this.#keys[index]!,
          values: this.#values[index]!,
          keyLength: this.#length,
          positions: this.#positions,
        };
      },
    };
  }

  /** Keeps a tensor whose first axis counts the rows; the cache owns it from now on. */
  hold(name: string, tensor: Tensor): void {
    if (tensor.shape[0] !== this.#batch) {
      throw new TypeError(
        `KeyValueCache: expected ${this.#batch} rows in "${name}" but got ${
          formatShape(tensor.shape)
        }`,
      );
    }
    this.#held.get(name)?.dispose();
    this.#held.set(name, tensor.keep());
  }

  /** What was kept under a name. */
  held(name: string): Tensor | undefined {
    return this.#held.get(name);
  }

  /**
   * Takes the given rows, in their order, in place of all: reordered, repeated or left out, as a beam search moves
   * its paths. Throws a `RangeError` for a row that is not there.
   */
  select(rows: readonly number[]): void {
    const bad = rows.find((row) => !(Number.isInteger(row) && row >= 0 && row < this.#batch));
    if (bad !== undefined) {
      throw new RangeError(
        `KeyValueCache: expected rows from 0 to ${this.#batch - 1} but got ${bad}`,
      );
    }
    if (rows.length === this.#batch && rows.every((row, i) => row === i)) return;
    this.#own(() => {
      using ids = tensor(Int32Array.from(rows), { device: this.device });
      const taken = (x: Tensor): Tensor => {
        using table = x.alias([this.#batch, x.size / this.#batch]);
        using flat = embedding(table, ids);
        x.dispose();
        return flat.alias([rows.length, ...x.shape.slice(1)]);
      };
      this.#keys = this.#keys.map(taken);
      this.#values = this.#values.map(taken);
      for (const [name, x] of this.#held) this.#held.set(name, taken(x));
      this.#next &&= taken(this.#next);
    });
    this.#batch = rows.length;
  }

  /**
   * Forgets the positions from `length` on, as those of tokens that were read and then taken back. Throws a
   * `RangeError` for a length that it does not have, and an `Error` where the rows differ in length.
   */
  truncate(length: number): void {
    if (!(Number.isInteger(length) && length >= 0 && length <= this.#length)) {
      throw new RangeError(
        `KeyValueCache: expected a length from 0 to ${this.#length} but got ${length}`,
      );
    }
    if (this.#next) {
      throw new Error("KeyValueCache.truncate: expected rows of equal length but got unequal ones");
    }
    this.#length = length;
  }

  /** Forgets all positions, and keeps the room for them and what is held. */
  clear(): void {
    this.#length = 0;
    this.#even();
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

  /** Runs what makes tensors that the cache owns. */
  #own<R>(body: () => R): R {
    return unscoped(() => noGrad(body));
  }

  #grow(needed: number): void {
    const { device, dtype, layers, kvHeads, headSize, contextSize, step } = this.#options;
    const capacity = Math.min(contextSize, Math.ceil(needed / step) * step);
    this.#own(() => {
      const longer = (x: Tensor | undefined): Tensor => {
        const shape = [this.#batch, capacity, kvHeads, headSize];
        // Zeros: where rows differ, tiles reach past the end of a row, and a weight of 0 does not hide a NaN.
        const y = constant(device, shape, 0, dtype);
        if (x) {
          const [batch, time] = x.shape as [number, number];
          const width = kvHeads * headSize;
          device.launch(writeRows, { x, y }, { batch, time, width, capacity, position: 0 });
          x.dispose();
        }
        return y;
      };
      for (let i = 0; i < layers; i++) {
        this.#keys[i] = longer(this.#keys[i]);
        this.#values[i] = longer(this.#values[i]);
      }
    });
    this.#capacity = capacity;
  }

  /** All rows are equally long again. */
  #even(): void {
    this.#next?.dispose();
    this.#positions?.dispose();
    this.#next = this.#positions = undefined;
  }

  #write(x: Tensor, y: Tensor): void {
    const positions = this.#positions;
    const width = x.size / (this.#batch * this.#added);
    const position = positions ? 0 : this.#length - this.#added;
    const params = {
      batch: this.#batch,
      time: this.#added,
      width,
      capacity: this.#capacity,
      position,
    };
    this.device.launch(writeRows, { x, positions, y }, params);
  }
}
