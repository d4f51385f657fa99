/** How the ranks of a run train one model: what they exchange, and when. */
import {
  broadcastTensors,
  type Communicator,
  DiLoCo,
  GradientExchange,
  type Optimizer,
  ParameterShards,
  type SavedOptimizer,
  type StoredTensor,
  type Tensor,
} from "../../../mod.ts";
import type { Options } from "./options.ts";

/** The outer optimizer's tensors in a checkpoint. */
const OUTER = "outer.";

/** One rank's side of it. With a single rank there is nothing to do but in DiLoCo's outer steps. */
export class Teamwork implements Disposable {
  /** The parameters that this rank's optimizer updates. */
  readonly own: ReadonlyMap<string, Tensor>;
  readonly #communicator: Communicator;
  readonly #parameters: ReadonlyMap<string, Tensor>;
  readonly #exchange: GradientExchange | undefined;
  readonly #shards: ParameterShards | undefined;
  readonly #outer: DiLoCo | undefined;
  /** What rank 0 has read of the optimizer's state until `follow`. */
  #stored: ReadonlyMap<string, StoredTensor> = new Map();

  constructor(
    communicator: Communicator,
    parameters: ReadonlyMap<string, Tensor>,
    { wire, shardOptimizer, diloco }: Pick<Options, "wire" | "shardOptimizer" | "diloco">,
  ) {
    this.#communicator = communicator;
    this.#parameters = parameters;
    if (diloco) this.#outer = new DiLoCo(communicator, parameters, { every: diloco, wire });
    else if (communicator.size > 1) {
      this.#shards = shardOptimizer ? new ParameterShards(communicator, parameters) : undefined;
      const joined = !this.#shards;
      this.#exchange = new GradientExchange(communicator, parameters, { wire, joined });
    }
    this.own = this.#shards?.own ?? parameters;
  }

  /** Whether a rank decides on its steps by itself. */
  get isAlone(): boolean {
    return this.#communicator.size === 1 && !this.#outer;
  }

  /** Whether gradients are those of a whole step, to which each rank adds its part. */
  get sumsGradients(): boolean {
    return this.#outer === undefined;
  }

  /** Whether all ranks have to take part where a checkpoint is written. */
  get savesTogether(): boolean {
    return this.#shards !== undefined || this.#outer !== undefined;
  }

  /** The backward pass that comes next is the last of a step. */
  begin(): void {
    this.#exchange?.begin();
  }

  /** Waits until the gradients are those of all ranks. */
  async finish(): Promise<void> {
    await this.#exchange?.finish();
  }

  /** The loss of a step, of which each rank has a part, and the norm of its gradients: the same on all ranks. */
  async agree(loss: number, gradNorm: number): Promise<{ loss: number; gradNorm: number }> {
    // With DiLoCo each has gradients of its own; a norm that is NaN on one is NaN on all.
    const numbers = Float64Array.of(loss, gradNorm / this.#communicator.size);
    await this.#communicator.allReduce(numbers);
    return { loss: numbers[0]!, gradNorm: this.#outer ? numbers[1]! : gradNorm };
  }

  /** The optimizer has made its step. */
  async updated(): Promise<void> {
    await this.#shards?.spread();
    await this.#outer?.step();
  }

  /** Makes the weights of all ranks the same, which they are but for DiLoCo's. */
  async settle(): Promise<void> {
    await this.#outer?.finish();
  }

  /** What is saved as the optimizer; all ranks ask for it, and rank 0 saves it. */
  async saved(optimizer: Optimizer): Promise<SavedOptimizer> {
    const inner = await this.#shards?.state(optimizer) ?? optimizer.state();
    const outer = [...this.#outer?.state() ?? []];
    const state = new Map([
      ...inner,
      ...outer.map(([name, tensor]) => [OUTER + name, tensor] as const),
    ]);
    return { state: () => state, restore() {} };
  }

  /** What takes up a checkpoint's optimizer, on rank 0; the others get theirs by `follow`. */
  restoring(optimizer: Optimizer): SavedOptimizer {
    return {
      state: () => new Map(),
      restore: (stored) => {
        const isOuter = (name: string) => name.startsWith(OUTER);
        const inner = new Map([...stored].filter(([name]) => !isOuter(name)));
        const outer = [...stored].filter(([name]) => isOuter(name))
          .map(([name, tensor]) => [name.slice(OUTER.length), tensor] as const);
        if (this.#shards) this.#stored = inner;
        else optimizer.restore(inner);
        if (outer.length > 0) this.#outer?.restore(new Map(outer));
      },
    };
  }

  /** Gives all ranks the weights and the state that rank 0 has; `others` are tensors beside them. */
  async follow(
    optimizer: Optimizer,
    others: Iterable<Tensor>,
    isResumed: boolean,
  ): Promise<void> {
    if (this.#communicator.size > 1) {
      await broadcastTensors(this.#communicator, [
        ...this.#parameters.values(),
        ...this.#shards ? [] : optimizer.state().values(),
        ...this.#outer?.state().values() ?? [],
        ...others,
      ]);
    }
    if (this.#shards && isResumed) await this.#shards.restore(optimizer, this.#stored);
    this.#stored = new Map();
    this.#outer?.reset();
  }

  [Symbol.dispose](): void {
    this.#exchange?.[Symbol.dispose]();
    this.#outer?.[Symbol.dispose]();
  }
}
