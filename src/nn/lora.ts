/**
 * Low-rank adapters: fine-tuning a model with a few additional parameters while its own stay frozen.
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

/** The configuration of an adapter, under PEFT's names. */
export interface LoRAConfig {
  /** The rank: the number of outputs of A. Default: 8. */
  readonly r?: number | undefined;
  /** The adapter's result is multiplied by `loraAlpha / r`. Default: 2 r. */
  readonly loraAlpha?: number | undefined;
  /**
   * The layers to adapt: module paths or the last parts of them, such as `h.0.attn.c_attn` or `q_proj`, or all linear
   * layers except the output matrix. Default: `all-linear`.
   */
  readonly targetModules?: "all-linear" | readonly string[] | undefined;
  /** The probability of dropping an element of A's input, in training. Default: 0. */
  readonly loraDropout?: number | undefined;
  /** Whether to multiply by `loraAlpha / sqrt(r)` instead (Kalajdzievski 2023, "rsLoRA"). Default: false. */
  readonly useRslora?: boolean | undefined;
}

/** {@linkcode LoRAConfig} with all defaults filled in; `targetModules` is a list. */
export type FullLoRAConfig = {
  readonly [K in keyof LoRAConfig]-?: Exclude<LoRAConfig[K], undefined | "all-linear">;
};

/** Options of {@linkcode applyLoRA}. */
export interface LoRAOptions extends LoRAConfig {
  /** The random stream that A is drawn from, as in `ParameterOptions`. */
  readonly random?: ParameterOptions["random"];
  /** The dtype of A and B. Default: that of the weights, or `f32` if those are not floats. */
  readonly dtype?: "f32" | "f16" | undefined;
}

/** The output matrix is multiplied inside the loss and not by its layer, so it cannot be adapted. */
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

  /** True if the weight's dtype allows adding to it. */
  get canMerge(): boolean {
    return isFloat(this.#base.weight.dtype);
  }

  detach(): void {
    this.#base.adapters.delete(this);
  }
}

/**
 * A low-rank adapter of a model: each adapted layer computes `x W^T + scaling dropout(x) A^T B^T`. The parameters of
 * this module are A and B of each layer, under names such as `h.0.attn.c_attn.lora_A.weight`; the model's own
 * parameters are unchanged. A model may have several adapters; the results of those that are enabled add up. See
 * {@linkcode applyLoRA}.
 */
export class LoRA extends Module {
  /** The configuration, with all defaults filled in. */
  readonly config: FullLoRAConfig;
  /** The random stream for dropout of activations. Set it in training, to the stream that `dropout` names. */
  random: RandomState | undefined;
  readonly #base: Module;
  readonly #layers: ReadonlyMap<string, LoRALayer>;
  #enabled = true;
  #isMerged = false;

  /** Adds the adapter to the model. See {@linkcode applyLoRA}. */
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
    Object.assign(this, Object.fromEntries(this.#layers)); // a module finds its parameters in its fields
  }

  /** The model. */
  get base(): Module {
    return this.#base;
  }

  /** The factor that B A x is multiplied by. */
  get scaling(): number {
    const { r, loraAlpha, useRslora } = this.config;
    return loraAlpha / (useRslora ? Math.sqrt(r) : r);
  }

  /** Whether the adapter is active in the model. Setting it to false throws an `Error` while the adapter is merged. */
  get enabled(): boolean {
    return this.#enabled;
  }

  set enabled(value: boolean) {
    if (!value) this.#checkMerged(false);
    this.#enabled = value;
  }

  /** Whether the adapter is currently merged into the model's weights. */
  get isMerged(): boolean {
    return this.#isMerged;
  }

  /**
   * Runs `body` with this adapter disabled, so that the model computes what it did without it. `body` must be
   * synchronous. Throws an `Error` while the adapter is merged.
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
   * Adds B A to the model's weights, so that the model runs as fast as without an adapter. Throws an `Error` if it is
   * already merged, and a `TypeError` for quantised weights.
   */
  merge(): void {
    this.#checkMerged(false);
    if (!this.#layers.values().every(({ canMerge }) => canMerge)) {
      throw new TypeError("merge: expected weights of f32 or f16 but got quantised ones");
    }
    this.#addToWeights(this.scaling);
    this.#isMerged = true;
  }

  /**
   * Subtracts the adapter from the weights again, which restores them up to rounding. Throws an `Error` if it is not
   * merged.
   */
  unmerge(): void {
    this.#checkMerged(true);
    this.#addToWeights(-this.scaling);
    this.#isMerged = false;
  }

  /** Removes the adapter from the model and frees its memory. What is merged stays in the weights. */
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
 * Adds a low-rank adapter to a model (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models") and freezes
 * the model's own parameters, so that only the adapter is trained. B starts at 0, so the model's outputs do not change
 * at first. Any `Linear` of any module can be a target. Options have PEFT's names.
 *
 * Throws a `TypeError` if a target is not a linear layer, and a `RangeError` for numbers out of range.
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

/** The layers of a model that can be adapted, by path, each once: the linear layers except the output matrix. */
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

/** The last parts of the paths, each once. */
function lastParts(paths: readonly string[]): string[] {
  return [...new Set(paths.map((path) => path.split(".").at(-1)!))];
}

/** The target layers by path. */
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
