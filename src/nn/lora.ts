/**
 * Low-rank adapters: a model is fine-tuned by a few numbers beside its weights, which stay as they are.
 *
 * @module
 */
import { axpy } from "../../kernels/elementwise/axpy.ts";
import { isFloat } from "../device/dtype.ts";
import { add, cast, mul } from "../ops/elementwise.ts";
import { linear, matmul } from "../ops/matmul.ts";
import { dropout } from "../ops/random.ts";
import type { RandomState } from "../tensor/random.ts";
import { scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type ParameterOptions, zeros } from "./init.ts";
import { Linear, type LinearAdapter } from "./layers.ts";
import { Module } from "./module.ts";

/** What an adapter is like, by PEFT's names. */
export interface LoRAConfig {
  /** The rank: columns of A's output. Default: 8. */
  readonly r?: number | undefined;
  /** The adapter's part of a result is multiplied with `loraAlpha / r`. Default: 2 r. */
  readonly loraAlpha?: number | undefined;
  /**
   * The layers that get an adapter: the paths of modules or their last parts, such as `q_proj` or
   * `h.0.attn.c_attn`, or all linear layers but the output matrix. Default: `all-linear`.
   */
  readonly targetModules?: "all-linear" | readonly string[] | undefined;
  /** Probability of dropping an element of what goes into A, in training. Default: 0. */
  readonly loraDropout?: number | undefined;
  /** Multiplies with `loraAlpha / sqrt(r)` instead (Kalajdzievski 2023, "rsLoRA"). Default: false. */
  readonly useRslora?: boolean | undefined;
}

/** {@linkcode LoRAConfig}, filled in; `targetModules` is a list. */
export type FullLoRAConfig = {
  readonly [K in keyof LoRAConfig]-?: Exclude<LoRAConfig[K], undefined | "all-linear">;
};

/** Options of {@linkcode applyLoRA}. */
export interface LoRAOptions extends LoRAConfig {
  /** The stream that A is drawn from, as in `ParameterOptions`. */
  readonly random?: ParameterOptions["random"];
  /** Of A and B. Default: the weights', and `f32` beside weights that are no floats. */
  readonly dtype?: "f32" | "f16" | undefined;
}

/** The product of the output matrix is part of the loss: it does not go through its layer. */
const OUTPUT_MATRIX = /(^|\.)(lm_head|decoder\.out)$/;

/** The adapter of one layer. */
class LoRALayer extends Module implements LinearAdapter {
  /** Its weight is A, (r, inputs). */
  readonly lora_A: Linear;
  /** Its weight is B, (outputs, r). */
  readonly lora_B: Linear;
  readonly #base: Linear;
  readonly #adapter: LoRA;

  constructor(base: Linear, adapter: LoRA, { random, ...options }: LoRAOptions) {
    super();
    const { device, dtype, shape: [outputs, inputs] } = base.weight;
    const place = { device, dtype: options.dtype ?? (isFloat(dtype) ? dtype : "f32"), random };
    const { r } = adapter.config;
    this.lora_A = new Linear(inputs!, r, { ...place, bias: false });
    this.lora_B = new Linear(r, outputs!, { ...place, bias: false, init: zeros });
    this.#base = base;
    this.#adapter = adapter;
    base.adapters.add(this);
  }

  addTo(y: Tensor, x: Tensor): Tensor {
    const { enabled, isMerged, random, scaling, config: { loraDropout: p } } = this.#adapter;
    if (!enabled || isMerged) return y;
    const [a, b] = [this.lora_A.weight, this.lora_B.weight];
    const seen = cast(random && p ? dropout(x, p, { random }) : x, a.dtype);
    const low = mul(linear(seen, a), scaling); // (..., r)
    if (y.dtype === b.dtype) return linear(low, b, undefined, { residual: y });
    return add(y, cast(linear(low, b), y.dtype));
  }

  /** Adds `factor B A` to the weight of the layer. */
  addToWeight(factor: number): void {
    const { weight } = this.#base;
    const product = matmul(this.lora_B.weight, this.lora_A.weight); // (outputs, inputs)
    weight.device.launch(axpy, { x: product, y: weight }, { count: weight.size, a: factor });
  }

  /** True where the weight is one that something can be added to. */
  get canMerge(): boolean {
    return isFloat(this.#base.weight.dtype);
  }

  detach(): void {
    this.#base.adapters.delete(this);
  }
}

/**
 * A low-rank adapter of a model: each adapted layer computes `x W^T + scaling dropout(x) A^T B^T`. As a module it has A
 * and B of each layer for parameters, such as `h.0.attn.c_attn.lora_A.weight`; the model's own parameters are those it
 * had. A model may have several adapters: what those that are enabled compute is added up. See {@linkcode applyLoRA}.
 */
export class LoRA extends Module {
  /** All filled in. */
  readonly config: FullLoRAConfig;
  /** Activations are dropped with these random numbers while they are set: in training the stream that `dropout` names. */
  random: RandomState | undefined;
  readonly #base: Module;
  readonly #layers: ReadonlyMap<string, LoRALayer>;
  #enabled = true;
  #isMerged = false;

  /** Puts the adapter into the model. See {@linkcode applyLoRA}. */
  constructor(base: Module, options?: LoRAOptions) {
    super();
    const { r = 8, loraAlpha = 2 * r, loraDropout = 0, useRslora = false } = options ?? {};
    if (!(Number.isSafeInteger(r) && r > 0)) {
      throw new RangeError(`applyLoRA: expected an integer r above 0 but got ${r}`);
    }
    if (!(loraDropout >= 0 && loraDropout < 1)) {
      throw new RangeError(
        `applyLoRA: expected a loraDropout from 0 to below 1 but got ${loraDropout}`,
      );
    }
    const layers = targetsOf(base, options?.targetModules ?? "all-linear");
    const targetModules = Array.isArray(options?.targetModules)
      ? options.targetModules as readonly string[]
      : lastParts([...layers.keys()]);
    this.config = { r, loraAlpha, targetModules, loraDropout, useRslora };
    this.#base = base;
    this.#layers = new Map(
      [...layers].map(([path, layer]) => [path, new LoRALayer(layer, this, options ?? {})]),
    );
    Object.assign(this, Object.fromEntries(this.#layers)); // fields, by which a module finds its parameters
  }

  /** The model. */
  get base(): Module {
    return this.#base;
  }

  /** What B A x is multiplied with. */
  get scaling(): number {
    const { r, loraAlpha, useRslora } = this.config;
    return loraAlpha / (useRslora ? Math.sqrt(r) : r);
  }

  /** Whether it takes part in what the model computes. Throws an `Error` where one that is merged is switched off. */
  get enabled(): boolean {
    return this.#enabled;
  }

  set enabled(value: boolean) {
    if (!value) this.#checkMerged(false);
    this.#enabled = value;
  }

  /** Whether it is part of the model's weights for now. */
  get isMerged(): boolean {
    return this.#isMerged;
  }

  /**
   * What `body` computes while this adapter is switched off, such as the model as it was. `body` is synchronous. Throws an
   * `Error` while it is merged.
   */
  without<R>(body: () => R): R {
    const before = this.#enabled;
    this.enabled = false;
    try {
      return body();
    } finally {
      this.#enabled = before;
    }
  }

  /**
   * Adds B A to the model's weights, so that the model computes as fast as without an adapter. Throws an `Error` where that
   * is done already, a `TypeError` for quantised weights.
   */
  merge(): void {
    this.#checkMerged(false);
    if (!this.#layers.values().every(({ canMerge }) => canMerge)) {
      throw new TypeError("merge: expected weights of f32 or f16 but got quantised ones");
    }
    this.#addToWeights(this.scaling);
    this.#isMerged = true;
  }

  /** Takes it out of the weights again, which are then what they were but for rounding. Throws an `Error` where it is not in. */
  unmerge(): void {
    this.#checkMerged(true);
    this.#addToWeights(-this.scaling);
    this.#isMerged = false;
  }

  /** Takes the adapter out of the model and frees its memory. What is merged stays in the weights. */
  override dispose(): void {
    for (const layer of this.#layers.values()) layer.detach();
    super.dispose();
  }

  #addToWeights(factor: number): void {
    for (const layer of this.#layers.values()) {
      noGrad(() => scoped(() => layer.addToWeight(factor)));
    }
  }

  #checkMerged(expected: boolean): void {
    if (this.#isMerged === expected) return;
    const [wanted, found] = expected ? ["one", "one that is not"] : ["none", "one"];
    throw new Error(`LoRA: expected ${wanted} that is merged but got ${found}`);
  }
}

/**
 * Puts a low-rank adapter into a model (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models") and freezes the
 * model's own parameters, of which gradients are no longer computed; only the adapter's are trained. B starts at 0, so
 * nothing changes at first. Any `Linear` of any module can be a target. Options have PEFT's names.
 *
 * Throws a `TypeError` where a target is no linear layer, a `RangeError` for numbers that make no adapter.
 *
 * @example Train an adapter, switch it off, merge it
 * ```ts
 * import { AdamW, applyLoRA, CpuDevice, GPT2, scoped, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 10, maxPositionEmbeddings: 8, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * using model = new GPT2(sizes, { device });
 * using lora = applyLoRA(model, { r: 2, loraAlpha: 4, targetModules: ["c_attn"] });
 * assert.deepEqual([...lora.parameters().keys()], ["h.0.attn.c_attn.lora_A.weight", "h.0.attn.c_attn.lora_B.weight"]);
 *
 * using optimizer = new AdamW(lora.parameters(), { lr: 0.1 });
 * using ids = tensor([[1, 2, 3]], { device, dtype: "i32" });
 * using targets = tensor([[2, 3, 4]], { device, dtype: "i32" });
 * const loss = () => scoped(() => model.loss(ids, targets));
 * const first = await loss().item();
 * for (let step = 0; step < 20; step++) {
 *   loss().backward();
 *   optimizer.step();
 *   optimizer.zeroGrad();
 * }
 * const last = await loss().item();
 * assert(last < first);
 * assert.equal(await lora.without(loss).item(), first);
 * lora.merge();
 * assert(Math.abs(await loss().item() - last) < 1e-5);
 * ```
 */
export function applyLoRA(model: Module, options?: LoRAOptions): LoRA {
  const adapter = new LoRA(model, options);
  model.freeze();
  return adapter;
}

/** The layers of a model that can have an adapter, each once, by their paths: the linear ones but the output matrix. */
export function adaptableLayers(model: Module): Map<string, Linear> {
  const found = new Map<string, Linear>();
  const seen = new Set<Module>();
  for (const [path, module] of model.modules()) {
    if (!(module instanceof Linear) || seen.has(module) || OUTPUT_MATRIX.test(path)) continue;
    seen.add(module);
    found.set(path, module);
  }
  return found;
}

/** The layers' own names, each once. */
function lastParts(paths: readonly string[]): string[] {
  return [...new Set(paths.map((path) => path.split(".").at(-1)!))];
}

/** The layers that are meant, by their paths. */
function targetsOf(
  model: Module,
  targets: "all-linear" | readonly string[],
): ReadonlyMap<string, Linear> {
  const layers = adaptableLayers(model);
  const isMeant = (path: string, target: string) => path === target || path.endsWith(`.${target}`);
  if (targets !== "all-linear") {
    const paths = [...layers.keys()];
    const unknown = targets.find((target) => !paths.some((path) => isMeant(path, target)));
    if (unknown !== undefined) {
      throw new TypeError(
        `applyLoRA: expected linear layers other than the output matrix in targetModules, as ` +
          `${lastParts(paths).join(", ")}, but got "${unknown}"`,
      );
    }
    for (const path of paths) {
      if (!targets.some((target) => isMeant(path, target))) layers.delete(path);
    }
  }
  if (layers.size === 0) throw new TypeError("applyLoRA: expected linear layers but got none");
  return layers;
}
