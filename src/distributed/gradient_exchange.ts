/**
 * Gradients summed over the ranks while the backward pass still runs.
 *
 * @module
 */
import type { Binding } from "../device/device.ts";
import { checkParameters, type NamedParameters } from "../optim/parameters.ts";
import { joinNeighbours } from "../tensor/slab.ts";
import { copyInto, Tensor } from "../tensor/tensor.ts";
import type { Communicator, Summable } from "./communicator.ts";
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
}

/**
 * Sums the gradients of a model's parameters over the ranks of a communicator, as PyTorch's `DistributedDataParallel`
 * does: in buckets of what the backward pass has finished, last layers first, while it continues with the earlier
 * layers. When a gradient is finished is learned in the first pass, after which all are sent; models whose graph
 * changes from step to step are refused. On the CPU device the sums are computed in place; from a GPU the gradients are
 * read, once per step.
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
      .map(([name, parameter]) => ({ name, parameter, expected: undefined, seen: 0 }));
    for (const slot of this.#slots) slot.parameter.gradHook = () => this.#add(slot);
  }

  /** Call before the last backward pass of a step: gradients it has finished may then be sent. */
  begin(): void {
    for (const slot of this.#slots) slot.seen = 0;
    this.#isOpen = true;
  }

  /** Sends what is left, and waits until every gradient is the sum over all ranks. */
  async finish(): Promise<void> {
    this.#isOpen = false;
    // Parameters without a gradient now may have one in the next step.
    for (const slot of this.#slots) {
      if (slot.expected === undefined && slot.seen > 0) {
        slot.expected = slot.seen;
        this.#bucket.push(slot);
      } else if (slot.seen < (slot.expected ?? 0)) {
        throw new Error(this.#changed(slot));
      }
    }
    this.#send();
    const begun = performance.now();
    const sent = [...this.#sent, this.#sum(this.#due)];
    this.#sent = [];
    this.#due = [];
    await Promise.all(sent);
    this.waited += performance.now() - begun;
  }

  /** Releases the parameters. */
  [Symbol.dispose](): void {
    for (const { parameter } of this.#slots) parameter.gradHook = null;
  }

  #add(slot: Slot): void {
    if (!this.#isOpen) return;
    slot.seen++;
    if (slot.expected === undefined || slot.seen < slot.expected) return;
    if (slot.seen > slot.expected) throw new Error(this.#changed(slot));
    this.#bucket.push(slot);
    const bytes = this.#bucket.reduce((sum, { parameter: { grad } }) => sum + grad!.bytes, 0);
    if (bytes >= this.#bucketBytes) this.#send();
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
