/**
 * Gradients summed over the ranks while the backward pass still runs.
 *
 * @module
 */
import type { Binding } from "../device/device.ts";
import { arrayOf, type TypedArray } from "../device/dtype.ts";
import { addRows } from "../ops/launch.ts";
import { checkParameters, type NamedParameters } from "../optim/parameters.ts";
import { tensor } from "../tensor/create.ts";
import { Scope } from "../tensor/scope.ts";
import { joinNeighbours } from "../tensor/slab.ts";
import { copyInto, Tensor } from "../tensor/tensor.ts";
import type { Communicator, Gatherable, Summable } from "./communicator.ts";
import { onHost } from "./tensors.ts";

/** Options of {@linkcode GradientExchange}. */
export interface GradientExchangeOptions {
  /** The bytes of gradients that are sent together. Default: 4 MiB. */
  readonly bucketBytes?: number;
  /** The type in which they are sent. Default: as they are. */
  readonly wire?: "f32" | "f16" | undefined;
  /**
   * Whether gradients that are adjacent in memory are sent in one piece, which requires that they are adjacent on all
   * ranks. Default: true.
   */
  readonly joined?: boolean;
}

/** A parameter and the progress of its gradient. */
interface Slot {
  readonly name: string;
  readonly parameter: Tensor;
  /** How often a backward pass adds to its gradient, if one has been observed. */
  expected: number | undefined;
  /** How often this pass has added so far. */
  seen: number;
  /** What the observed pass has added last, if that was rows of a table: their number. */
  rows: number;
  /** Whether what is added last are rows, which the ranks exchange apart from the gradient before them. */
  isSplit: boolean;
  /** These rows in this pass. */
  last: Rows | undefined;
}

/** Rows (n, E) to be added to a table at ids (n). */
interface Rows {
  readonly ids: Tensor;
  readonly x: Tensor;
}

/**
 * Sums the gradients of a model's parameters over the ranks of a communicator, as PyTorch's `DistributedDataParallel`
 * does: in buckets of what the backward pass has finished, last layers first, while it continues with the earlier
 * layers. When a gradient is finished is learned in the first pass, after which all are sent; models whose graph
 * changes from step to step are refused. On the CPU device the sums are computed in place; from a GPU the gradients are
 * read, once per step.
 *
 * The gradient of an embedding tied to the output matrix begins with the output's part, the first of all, and ends with
 * a few rows, the last of all. On the CPU the first part is sent at once; the rows are gathered from all ranks and added
 * to the sum, if together they are fewer than those of the table.
 *
 * For the mean over a batch that the ranks share, every rank starts its backward pass from its part of the batch.
 *
 * (Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training".)
 *
 * @example
 * ```ts
 * import { CpuDevice, GradientExchange, mul, openCommunicator, scoped, sum, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * await using communicator = await openCommunicator();
 * using device = CpuDevice.open({ threads: 1 });
 * const x = tensor([communicator.rank, 1], { device });
 * x.requiresGrad = true;
 * using exchange = new GradientExchange(communicator, { x });
 * exchange.begin();
 * scoped(() => sum(mul(x, x)).backward(1 / communicator.size));
 * await exchange.finish();
 * assert.equal((await x.grad!.data())[1], 2);
 * ```
 */
export class GradientExchange implements Disposable {
  /**
   * The milliseconds that {@linkcode GradientExchange.finish} has waited in all steps: the communication not hidden.
   */
  waited = 0;
  readonly #communicator: Communicator;
  readonly #slots: readonly Slot[];
  readonly #bucketBytes: number;
  readonly #wire: "f32" | "f16" | undefined;
  readonly #joined: boolean;
  /** Gradients that are finished and not yet sent, in the order in which they finished. */
  #bucket: Slot[] = [];
  #isOpen = false;
  /** The rows of the table of which the next addition consists; 0 if it is none of rows. */
  #rows = 0;
  #sent: Promise<void>[] = [];
  /** Gradients on a GPU that are to be sent: reading them waits, so it is done once. */
  #due: Binding[] = [];

  /** Throws as optimizers do for parameters that cannot be trained. */
  constructor(
    communicator: Communicator,
    parameters: NamedParameters,
    options?: GradientExchangeOptions,
  ) {
    const { bucketBytes = 4 * 2 ** 20, wire, joined = true } = options ?? {};
    this.#communicator = communicator;
    this.#bucketBytes = bucketBytes;
    this.#wire = wire;
    this.#joined = joined;
    this.#slots = checkParameters("GradientExchange", parameters)
      .map(([name, parameter]) => ({
        ...{ name, parameter, expected: undefined, seen: 0 },
        ...{ rows: 0, isSplit: false, last: undefined },
      }));
    for (const slot of this.#slots) {
      slot.parameter.gradHook = () => this.#add(slot);
      slot.parameter.takeGradRows = (ids, x) => this.#takeRows(slot, ids, x);
    }
  }

  /** Call before the last backward pass of a step: gradients it has finished may then be sent. */
  begin(): void {
    for (const slot of this.#slots) Object.assign(slot, { seen: 0, last: undefined });
    this.#isOpen = true;
  }

  /** Sends what is left, and waits until every gradient is the sum over all ranks. */
  async finish(): Promise<void> {
    this.#isOpen = false;
    // Parameters without a gradient now may have one in the next step.
    for (const slot of this.#slots) {
      if (slot.expected === undefined && slot.seen > 0) {
        slot.expected = slot.seen;
        slot.isSplit = slot.rows > 0 && await this.#areFew(slot);
        this.#bucket.push(slot);
      } else if (slot.seen < (slot.expected ?? 0)) {
        throw new Error(this.#changed(slot));
      }
    }
    this.#send();
    const begun = performance.now();
    const split = this.#slots.filter(({ last }) => last);
    const rows = Promise.all(split.map(({ last }) => this.#gatherRows(last!)));
    await Promise.all([...this.#sent, this.#sum(this.#due), rows]);
    this.#sent = [];
    this.#due = [];
    for (const [i, slot] of split.entries()) {
      using _scope = new Scope();
      const { device, grad, shape } = slot.parameter;
      const { ids, x } = (await rows)[i]!;
      addRows(
        grad!,
        tensor(ids as Int32Array, { device }),
        tensor(x as Float32Array, { device, shape: [ids.length, shape[1]!] }),
      );
      slot.last = undefined;
    }
    this.waited += performance.now() - begun;
  }

  /** Releases the parameters. */
  [Symbol.dispose](): void {
    for (const { parameter } of this.#slots) parameter.gradHook = parameter.takeGradRows = null;
  }

  #add(slot: Slot): void {
    if (!this.#isOpen) return;
    const { expected, isSplit } = slot;
    slot.rows = this.#rows;
    this.#rows = 0;
    const isLast = ++slot.seen === expected;
    if (expected === undefined) return;
    if (slot.seen > expected || (isSplit && isLast !== (slot.last !== undefined))) {
      throw new Error(this.#changed(slot));
    }
    if (slot.seen !== (isSplit ? expected - 1 : expected)) return;
    this.#bucket.push(slot);
    const bytes = this.#bucket.reduce((sum, { parameter: { grad } }) => sum + grad!.bytes, 0);
    if (bytes >= this.#bucketBytes) this.#send();
  }

  /** Keeps rows until the gradient that they are to be added to is summed; at first only notes that they come. */
  #takeRows(slot: Slot, ids: Tensor, x: Tensor): boolean {
    if (!this.#isOpen || slot.seen === 0) return false;
    this.#rows = ids.size;
    if (slot.isSplit) slot.last = { ids: ids.alias().keep(), x: x.alias().keep() };
    return slot.isSplit;
  }

  /** Whether the rows of all ranks are fewer than those of their table; on a GPU they are not exchanged apart. */
  async #areFew({ parameter, rows }: Slot): Promise<boolean> {
    if (parameter.device.kind !== "cpu" || parameter.dtype !== "f32") return false;
    const counts = await this.#communicator.gather(Float64Array.of(rows));
    return Math.max(...counts) * counts.length <= parameter.shape[0]!;
  }

  /** Returns the rows of all ranks, one rank after another, and frees those of this one. */
  async #gatherRows({ ids, x }: Rows): Promise<{ ids: TypedArray; x: TypedArray }> {
    const counts = [...await this.#communicator.gather(Float64Array.of(ids.size))];
    const most = Math.max(...counts);
    const gather = async (own: Tensor): Promise<TypedArray> => {
      const width = own.size / ids.size;
      const all = arrayOf(own.dtype, counts.reduce((sum, count) => sum + count * width, 0));
      await onHost([own], async (values) => {
        const padded = arrayOf(own.dtype, most * width);
        padded.set(values);
        const gathered = await this.#communicator.gather(padded as Gatherable);
        let at = 0;
        counts.forEach((count, rank) => {
          const first = rank * most * width;
          all.set(gathered.subarray(first, first + count * width), at);
          at += count * width;
        });
      });
      own.dispose();
      return all;
    };
    return { ids: await gather(ids), x: await gather(x) };
  }

  #changed({ name, expected, seen }: Slot): string {
    return `GradientExchange: expected ${expected} gradients for "${name}", as in the step before, but got ${seen}`;
  }

  #send(): void {
    const grads = this.#bucket.map(({ parameter }) => ({ x: ownGrad(parameter) }));
    this.#bucket = [];
    for (const { x } of this.#joined ? joinNeighbours(grads) : grads) {
      if (x.buffer.device.kind === "cpu") this.#sent.push(this.#sum([x]));
      else this.#due.push(x);
    }
  }

  #sum(gradients: readonly Binding[]): Promise<void> {
    const wire = this.#wire;
    return onHost(
      gradients,
      (values) => this.#communicator.allReduce(values as Summable, { wire }),
    );
  }
}

/** Gives a parameter a gradient in memory of its own: the tape lets several parameters share one. */
function ownGrad(parameter: Tensor): Tensor {
  const grad = parameter.grad!;
  if (grad.isOnlyUser) return grad;
  const copy = Tensor.empty(grad.device, grad.shape, grad.dtype).keep();
  copyInto(copy, grad);
  grad.dispose();
  return parameter.grad = copy;
}
