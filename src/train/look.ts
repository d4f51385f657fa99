/**
 * What can be watched while a model trains: its parameters, and where its attention looks.
 *
 * @module
 */
import type { CausalLM } from "../models/causal_lm.ts";
import type { AttentionObserver } from "../nn/forward_options.ts";
import { add, cast, sqrt, square, sum } from "../ops/mod.ts";
import type { AttentionLayer } from "../report/attention_picture.ts";
import { tensor } from "../tensor/create.ts";
import { Scope, scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import { readTensors, type Tensor } from "../tensor/tensor.ts";
import { continuationText, type Tokenizer } from "../tokenizer/tokenizer.ts";

/**
 * Returns the global L2 norm of all parameters, a scalar of `f32` on their device. It temporarily needs memory for one
 * copy of the largest parameter.
 *
 * @example
 * ```ts
 * import { CpuDevice, tensor, weightNorm } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using norm = weightNorm(new Map([["a", tensor([3], { device })], ["b", tensor([0, 4], { device })]]));
 * assert.equal(await norm.item(), 5);
 * ```
 */
export function weightNorm(parameters: ReadonlyMap<string, Tensor>): Tensor {
  const squares = (x: Tensor) => scoped(() => sum(square(cast(x, "f32"))));
  return noGrad(() => scoped(() => sqrt([...parameters.values()].map(squares).reduce(add))));
}

/** Returns the values of all parameters and of the gradients that exist, by names for TensorBoard's histograms. */
export async function readParameters(
  parameters: ReadonlyMap<string, Tensor>,
): Promise<Record<string, Float32Array>> {
  const entries = [...parameters].flatMap(([name, parameter]) => [
    { name: `weights/${name}`, tensor: parameter },
    ...(parameter.grad ? [{ name: `gradients/${name}`, tensor: parameter.grad }] : []),
  ]);
  const values = await readTensors(entries.map(({ tensor }) => tensor));
  return Object.fromEntries(entries.map(({ name }, i) => [name, values[i] as Float32Array]));
}

/** The tokens on the two sides of an attention map. */
export type MapTokens = Pick<AttentionLayer, "queryTokens" | "keyTokens">;

/**
 * Returns the weights of every attention of a forward pass over one sequence, in the order of the pass, for
 * `attentionPicture` and `attentionPng`. `forward` passes `observe` to the model; `tokensOf` returns the tokens of a
 * layer by its name. All weights are on the device at once: layers x heads x T x T.
 */
export async function readAttention(
  forward: (observe: AttentionObserver) => unknown,
  tokensOf?: (name: string) => MapTokens,
): Promise<AttentionLayer[]> {
  const names: string[] = [];
  const seen: Tensor[] = [];
  using scope = new Scope();
  scoped(() =>
    noGrad(() =>
      void forward((weights, name) => {
        names.push(name);
        seen.push(cast(weights, "f32"));
        seen.at(-1)!.moveTo(scope);
      })
    )
  );
  const values = await readTensors(seen);
  return seen.map(({ shape }, i) => {
    const [, heads, queries, keys] = shape as [number, number, number, number];
    const name = names[i]!;
    return { name, heads, queries, keys, weights: values[i] as Float32Array, ...tokensOf?.(name) };
  });
}

/** Calls {@linkcode readAttention} for a language model that reads `ids`, which its tokenizer names. */
export async function readSelfAttention(
  model: CausalLM,
  tokenizer: Pick<Tokenizer, "decodeBytes">,
  ids: ArrayLike<number>,
): Promise<AttentionLayer[]> {
  const tokens = Array.from(ids, (id) => continuationText(tokenizer, [id]));
  return await readAttention(
    (observe) => {
      const shape = [1, ids.length];
      model.hidden(tensor(Int32Array.from(ids), { shape, device: model.device }), { observe });
    },
    () => ({ queryTokens: tokens, keyTokens: tokens }),
  );
}
