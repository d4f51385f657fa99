/**
 * Training over slow networks.
 *
 * @module
 */
import { mul, sub } from "../ops/mod.ts";
import { checkParameters, type NamedParameters, zeroGrad } from "../optim/parameters.ts";
import { SGD } from "../optim/sgd.ts";
import type { StoredTensor } from "../optim/stored.ts";
import { Scope } from "../tensor/scope.ts";
import { joinNeighbours } from "../tensor/slab.ts";
import { noGrad } from "../tensor/tape.ts";
import { copyInto, Tensor } from "../tensor/tensor.ts";
import type { Communicator, Summable } from "./communicator.ts";
import { onHost } from "./tensors.ts";

/** Options of {@linkcode DiLoCo}. */
export interface DiLoCoOptions {
  /** The number of steps in a round, H. */
  readonly every: number;
  /** The outer learning rate. Default: 0.7. */
  readonly lr?: number;
  /** The outer Nesterov momentum. Default: 0.9. */
  readonly momentum?: number;
  /** The type in which the differences are sent. Default: `f32`. */
  readonly wire?: "f32" | "f16" | undefined;
}

/**
 * Trains a copy of the model on every rank with its own optimizer for H steps. The mean of how far the copies have
 * moved is then the gradient of an outer step with Nesterov momentum, from which all continue. So ranks exchange 1/H of
 * what exchanging the gradients of every step would take (Douillard et al. 2023, "DiLoCo: Distributed Low-Communication
 * Training of Language Models").
 *
 * @example
 * ```ts
 * import { AdamW, CpuDevice, DiLoCo, mul, openCommunicator, scoped, sum, tensor } from "@dinograd/dinograd";
 *
 * await using communicator = await openCommunicator();
 * using device = CpuDevice.open({ threads: 1 });
 * const x = tensor([3, 4], { device });
 * x.requiresGrad = true;
 * using inner = new AdamW({ x });
 * using outer = new DiLoCo(communicator, { x }, { every: 10 });
 * for (let step = 0; step < 20; step++) {
 *   scoped(() => sum(mul(x, x)).backward());
 *   inner.step();
 *   inner.zeroGrad();
 *   await outer.step(); // every tenth time together with the other ranks
 * }
 * ```
 */
export class DiLoCo implements Disposable {
  readonly #communicator: Communicator;
  readonly #parameters: ReadonlyMap<string, Tensor>;
  readonly #wire: "f32" | "f16" | undefined;
  readonly #every: number;
  /** The parameters at the beginning of the round, the same on all ranks. */
  readonly #outer: ReadonlyMap<string, Tensor>;
  readonly #optimizer: SGD;
  #steps = 0;

  /**
   * Throws a `RangeError` unless `every` is an integer above 0, and a `TypeError` for parameters that are not f32:
   * averaging f16 weights would lose what the master copies keep.
   */
  constructor(communicator: Communicator, parameters: NamedParameters, options: DiLoCoOptions) {
    const { every, lr = 0.7, momentum = 0.9, wire } = options;
    if (!(Number.isSafeInteger(every) && every > 0)) {
      throw new RangeError(`DiLoCo: expected an integer every above 0 but got ${every}`);
    }
    this.#communicator = communicator;
    this.#every = every;
    this.#wire = wire;
    this.#parameters = new Map(checkParameters("DiLoCo", parameters));
    this.#outer = new Map(
      [...this.#parameters].map(([name, { device, shape, dtype }]) => {
        if (dtype !== "f32") {
          throw new TypeError(`DiLoCo: expected f32 for "${name}" but got ${dtype}`);
        }
        const outer = Tensor.empty(device, shape).keep();
        outer.requiresGrad = true;
        return [name, outer];
      }),
    );
    this.#optimizer = new SGD(this.#outer, { lr, momentum, nesterov: true });
    this.reset();
  }

  /** Begins a round at the current parameters, which must be the same on all ranks. */
  reset(): void {
    this.#steps = 0;
    for (const [name, outer] of this.#outer) copyInto(outer, this.#parameters.get(name)!);
  }

  /** Call after each inner step; after the last one of a round, it makes the outer step. */
  async step(): Promise<void> {
    if (++this.#steps >= this.#every) await this.finish();
  }

  /** Ends the round now, for example before a checkpoint; does nothing if it has only just begun. */
  async finish(): Promise<void> {
    if (this.#steps === 0) return;
    this.#steps = 0;
    const { size } = this.#communicator;
    for (const [name, outer] of this.#outer) {
      using _scope = new Scope();
      const way = noGrad(() => mul(sub(outer, this.#parameters.get(name)!), 1 / size));
      const place = outer.gradPlace?.();
      if (place) copyInto(place, way);
      outer.grad = (place ?? way).keep();
    }
    const grads = joinNeighbours([...this.#outer.values()].map(({ grad }) => ({ x: grad! })));
    const wire = this.#wire;
    await onHost(
      grads.map(({ x }) => x),
      (values) => this.#communicator.allReduce(values as Summable, { wire }),
    );
    this.#optimizer.step();
    zeroGrad(this.#outer);
    for (const [name, outer] of this.#outer) copyInto(this.#parameters.get(name)!, outer);
  }

  /** Returns what a checkpoint must hold besides the parameters, by name: the live tensors, not copies. */
  state(): Map<string, Tensor> {
    return this.#optimizer.state();
  }

  /** Restores a saved state; throws as {@linkcode Optimizer.restore} does. Call `reset` afterwards. */
  restore(stored: ReadonlyMap<string, StoredTensor>): void {
    this.#optimizer.restore(stored);
  }

  /** Frees its own memory; the parameters stay. */
  [Symbol.dispose](): void {
    this.#optimizer[Symbol.dispose]();
    this.#outer.forEach((tensor) => tensor.dispose());
  }
}
