// Writes token shards, named and split as by build-nanogpt's fineweb.py and llm.c's dev/data.
import { join } from "../io/node_builtins.ts";
import { toPath } from "../io/byte_source.ts";
import { writeLlmcTokens } from "../io/llmc_bin.ts";
import { writeNpy } from "../io/npy.ts";

/** Options of {@linkcode ShardWriter}. */
export interface ShardWriterOptions {
  /** The first part of the file names: `edufineweb` gives `edufineweb_train_000001.npy`. */
  prefix: string;
  /** The number of tokens in each shard but the last. Default: 100,000,000, as in build-nanogpt's `fineweb.py`. */
  tokensPerShard?: number;
  /** The number of shards at the beginning that are named `val`; the rest are `train`. Default: 1. */
  validationShards?: number;
  /** The file format: NumPy's, or llm.c's `.bin`. Default: `npy`. */
  format?: "npy" | "bin";
}

/**
 * Writes a stream of tokens as shards of equal size, named as in build-nanogpt: shard 0 is `<prefix>_val_000000.npy`,
 * the ones after it `<prefix>_train_000001.npy` and so on. `close()` writes the last, shorter one.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { findShards, ShardWriter, TokenLoader } from "@dinograd/dinograd";
 *
 * const folder = await Deno.makeTempDir();
 * const writer = new ShardWriter(folder, { prefix: "numbers", tokensPerShard: 4 });
 * await writer.write([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
 * await writer.close();
 *
 * const paths = await findShards(folder, { split: "train" });
 * assert.equal(paths.length, 2); // the first of three is for validation
 * {
 *   await using loader = await TokenLoader.open(paths, { batchSize: 1, contextSize: 5 });
 *   assert.deepEqual([...(await loader.next()).inputs], [4, 5, 6, 7, 8]);
 * }
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export class ShardWriter {
  /** The paths of the shards written so far. */
  readonly paths: string[] = [];
  #folder: string;
  #options: Required<ShardWriterOptions>;
  #buffer: Uint16Array;
  #used = 0;

  /** Creates a writer into an existing folder. */
  constructor(folder: string | URL, options: ShardWriterOptions) {
    this.#options = { tokensPerShard: 1e8, validationShards: 1, format: "npy", ...options };
    const { tokensPerShard } = this.#options;
    if (!Number.isSafeInteger(tokensPerShard) || tokensPerShard < 1) {
      throw new RangeError(
        `ShardWriter: expected tokensPerShard of 1 or more but got ${tokensPerShard}`,
      );
    }
    this.#folder = toPath(folder);
    this.#buffer = new Uint16Array(tokensPerShard);
  }

  /**
   * Adds tokens, and writes a shard whenever one is full.
   *
   * @throws {RangeError} where an id does not fit into two bytes
   */
  async write(tokens: ArrayLike<number>): Promise<void> {
    for (let i = 0; i < tokens.length; i++) {
      const id = tokens[i]!;
      if (!(id >= 0 && id <= 0xffff)) {
        throw new RangeError(`ShardWriter: expected ids below 65,536 but got ${id} at index ${i}`);
      }
      this.#buffer[this.#used++] = id;
      if (this.#used === this.#buffer.length) await this.#flush();
    }
  }

  /** Writes the remaining tokens, if any, as a last shard. */
  async close(): Promise<void> {
    if (this.#used > 0) await this.#flush();
  }

  async #flush(): Promise<void> {
    const { prefix, validationShards, format } = this.#options;
    const index = this.paths.length;
    const split = index < validationShards ? "val" : "train";
    const name = `${prefix}_${split}_${String(index).padStart(6, "0")}.${format}`;
    const path = join(this.#folder, name);
    const tokens = this.#buffer.subarray(0, this.#used);
    await (format === "npy" ? writeNpy(path, tokens) : writeLlmcTokens(path, tokens));
    this.paths.push(path);
    this.#used = 0;
  }
}
