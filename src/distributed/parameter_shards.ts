/**
 * The state of an optimizer, sharded over the ranks.
 *
 * @module
 */
import type { DType, TypedArray } from "../device/dtype.ts";
import { arrayOf } from "../device/dtype.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import { checkParameters, type NamedParameters } from "../optim/parameters.ts";
import type { StoredTensor } from "../optim/stored.ts";
import { type Shape, sizeOf } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Communicator, shareJson } from "./communicator.ts";
import { broadcastTensors } from "./tensors.ts";

/** The description of a tensor of an optimizer's state, wherever it is. */
interface StateTensor {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly owner: number;
}

/** A tensor that can be saved: one of this rank, or one sent by another. */
export type SavedTensor = Pick<Tensor, "shape" | "dtype" | "data">;

/**
 * Assigns every parameter to one rank, whose optimizer updates it and keeps its moments and its f32 master copy; the
 * other ranks then receive the new values. The state of an optimizer takes 1 / `size` of its memory on each rank, as
 * nearly as whole parameters allow, for half as much traffic again. This is stage 1 of ZeRO, as in PyTorch's
 * `ZeroRedundancyOptimizer` (Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter
 * Models").
 *
 * Each rank needs the gradients summed over all ranks; see `GradientExchange`, which needs `joined: false` here.
 *
 * @example
 * ```ts
 * import { AdamW, CpuDevice, mul, openCommunicator, ParameterShards, scoped, sum, tensor } from "@dinograd/dinograd";
 *
 * await using communicator = await openCommunicator();
 * using device = CpuDevice.open({ threads: 1 });
 * const x = tensor([3, 4], { device });
 * x.requiresGrad = true;
 * const shards = new ParameterShards(communicator, { x });
 * using optimizer = new AdamW(shards.own);
 * scoped(() => sum(mul(x, x)).backward());
 * optimizer.step();
 * await shards.spread();
 * ```
 */
export class ParameterShards {
  /** The parameters of this rank, for an optimizer. */
  readonly own: ReadonlyMap<string, Tensor>;
  readonly #communicator: Communicator;
  /** The parameters of each rank. */
  readonly #parts: readonly ReadonlyMap<string, Tensor>[];

  /** Throws a `RangeError` if there are more ranks than parameters. */
  constructor(communicator: Communicator, parameters: NamedParameters) {
    const entries = checkParameters("ParameterShards", parameters);
    const { rank, size } = communicator;
    if (entries.length < size) {
      throw new RangeError(
        `ParameterShards: expected a parameter at least for each of ${size} ranks but got ${entries.length}`,
      );
    }
    this.#communicator = communicator;
    const parts = Array.from({ length: size }, () => new Map<string, Tensor>());
    const bytes = new Float64Array(size);
    // Largest first, each to the rank that has the least so far.
    for (const [name, parameter] of entries.toSorted(([, a], [, b]) => b.size - a.size)) {
      const owner = bytes.indexOf(Math.min(...bytes));
      parts[owner]!.set(name, parameter);
      bytes[owner]! += parameter.bytes;
    }
    this.#parts = parts;
    this.own = parts[rank]!;
  }

  /** Sends every rank the values of the parameters from their owners. */
  async spread(): Promise<void> {
    for (const [owner, part] of this.#parts.entries()) {
      await broadcastTensors(this.#communicator, [...part.values()], owner);
    }
  }

  /**
   * Returns the state of all ranks' optimizers, for a checkpoint that any number of ranks can restore: on rank 0, which
   * must read all of it, in order; the others send theirs meanwhile and get an empty map at the end.
   */
  async state(optimizer: Optimizer): Promise<Map<string, SavedTensor>> {
    const { rank } = this.#communicator;
    const own = optimizer.state();
    const all = await this.#describe(own);
    const saved = new Map<string, SavedTensor>();
    for (const tensor of all) {
      const { name, shape, dtype, owner } = tensor;
      const data = () => this.#send(tensor, own.get(name));
      if (rank > 0 && owner > 0) await data();
      else if (rank === 0) saved.set(name, owner === 0 ? own.get(name)! : { shape, dtype, data });
    }
    return saved;
  }

  /** Restores a saved state, which rank 0 has whole, on every rank. Throws as {@linkcode Optimizer.restore} does. */
  async restore(
    optimizer: Optimizer,
    stored: ReadonlyMap<string, StoredTensor>,
  ): Promise<void> {
    const { rank } = this.#communicator;
    const all = await shareJson(
      this.#communicator,
      [...stored].map(([name, { shape, data }]) => ({ name, shape, bytes: data.byteLength })),
    );
    const own = new Map<string, StoredTensor>();
    for (const { name, shape, bytes } of all) {
      const isHalf = bytes < 4 * sizeOf(shape);
      const data = stored.get(name)?.data ?? arrayOf(isHalf ? "f16" : "f32", sizeOf(shape));
      await this.#communicator.broadcast(data);
      const parameter = name.slice(name.indexOf(".") + 1);
      const isKnown = this.#parts.some((part) => part.has(parameter));
      if (this.own.has(parameter) || (!isKnown && (rank === 0 || name === "step"))) {
        own.set(name, { shape, data });
      }
    }
    optimizer.restore(own);
  }

  /** Returns what all optimizers hold, rank by rank; the number of steps is the same on all. */
  async #describe(own: ReadonlyMap<string, Tensor>): Promise<StateTensor[]> {
    const lists: StateTensor[] = [];
    for (let owner = 0; owner < this.#parts.length; owner++) {
      const list = [...own]
        .filter(([name]) => owner === 0 || name !== "step")
        .map(([name, { shape, dtype }]) => ({ name, shape, dtype, owner }));
      lists.push(...await shareJson(this.#communicator, list, owner));
    }
    return lists;
  }

  /** Returns the values of a tensor, sent by its owner. */
  async #send(
    { shape, dtype, owner }: StateTensor,
    own: Tensor | undefined,
  ): Promise<TypedArray> {
    const isOwner = owner === this.#communicator.rank;
    const values = isOwner ? await own!.data() : arrayOf(dtype, sizeOf(shape));
    await this.#communicator.broadcast(values, owner);
    return values;
  }
}
