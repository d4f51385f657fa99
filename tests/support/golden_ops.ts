/**
 * The operators against golden values: how each `op` of the manifests is called here.
 *
 * @module
 */
import type { Device } from "../../src/device/device.ts";
import { attention, sparseAttention, sparseAttentionParts } from "../../src/ops/attention.ts";
import {
  add,
  div,
  exp,
  log,
  maskedFill,
  mul,
  rsqrt,
  sqrt,
  sub,
  where,
} from "../../src/ops/elementwise.ts";
import { concat, permute, reshape, slice } from "../../src/ops/shape.ts";
import { crossEntropy } from "../../src/ops/loss.ts";
import { embedding } from "../../src/ops/index.ts";
import { layerNorm, rmsNorm } from "../../src/ops/norm.ts";
import { linear, matmul } from "../../src/ops/matmul.ts";
import { logSoftmax, softmax } from "../../src/ops/softmax.ts";
import { max, mean, sum } from "../../src/ops/reduce.ts";
import { rotary, sinusoid } from "../../src/ops/rotary.ts";
import { gelu, relu, sigmoid, silu, tanh } from "../../src/ops/activations.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { Tensor } from "../../src/tensor/tensor.ts";
import { deviceName } from "./devices.ts";
import { Comparison, type GoldenCase, manifest, pick, tensorsOf, upload } from "./golden.ts";

/** The inputs of a case by name; one that the case does not have is undefined. */
type Inputs = Record<string, Tensor>;
// deno-lint-ignore no-explicit-any -- as the manifest has them
type Attributes = Record<string, any>;
/** The output "y", or all outputs by name. */
type Operator = (inputs: Inputs, attrs: Attributes, device: Device) => Tensor | Inputs;

const reduction = (reduce: typeof sum): Operator => ({ x }, { axes, keepdim }) =>
  reduce(x, axes, { keepdim: keepdim });

/** The gated unit of LLaMA's MLP. */
const swiglu = (gate: Tensor, up: Tensor) => mul(silu(gate), up);

/** Every operator of the manifests. */
const OPERATORS: Readonly<Record<string, Operator>> = {
  // matmul
  matmul: ({ a, b }, attrs) =>
    matmul(a, b, { transposeA: attrs.transpose_a, transposeB: attrs.transpose_b }),
  linear: ({ x, weight, bias }) => linear(x, weight, bias),
  // activation
  gelu: ({ x }, { approximate }) => gelu(x, { approximate }),
  silu: ({ x }) => silu(x),
  relu: ({ x }) => relu(x),
  sigmoid: ({ x }) => sigmoid(x),
  tanh: ({ x }) => tanh(x),
  exp: ({ x }) => exp(x),
  log: ({ x }) => log(x),
  sqrt: ({ x }) => sqrt(x),
  rsqrt: ({ x }) => rsqrt(x),
  swiglu: ({ gate, up }) => swiglu(gate, up),
  swiglu_mlp: ({ x, gate_weight, up_weight, down_weight }) =>
    linear(swiglu(linear(x, gate_weight), linear(x, up_weight)), down_weight),
  // normalisation
  layer_norm: ({ x, weight, bias }, { eps }) => layerNorm(x, weight, bias, { eps }),
  rms_norm: ({ x, weight }, { eps }) => rmsNorm(x, weight, { eps }),
  rms_norm_eps_outside: ({ x, weight }, { eps }) =>
    mul(div(x, add(sqrt(mean(mul(x, x), -1, { keepdim: true })), eps)), weight),
  // softmax
  softmax: ({ x }, { axis }) => softmax(x, { axis }),
  log_softmax: ({ x }, { axis }) => logSoftmax(x, { axis }),
  cross_entropy: ({ x, target }, { ignore_index, label_smoothing }) =>
    crossEntropy(x, target, {
      ignoreIndex: ignore_index ?? undefined,
      labelSmoothing: label_smoothing,
    }),
  // attention
  attention: ({ q, k, v, key_valid }, { causal }) =>
    attention(q, k, v, { causal, keyValid: key_valid }),
  sparse_attention: ({ q, k, v }, { block }) => {
    const [local, column] = sparseAttentionParts(q, k, v, { blockSize: block });
    return { y: sparseAttention(q, k, v, { blockSize: block }), local, column };
  },
  rotary: ({ x }, { theta, start: position }) => rotary(x, { theta, position }),
  sinusoid_table: (_, { length, dim, theta }, device) => sinusoid(length, dim, { theta, device }),
  // structure
  embedding: ({ weight, ids }) => embedding(weight, ids),
  sum: reduction(sum),
  mean: reduction(mean),
  max: reduction(max),
  add: ({ a, b }) => add(a, b),
  sub: ({ a, b }) => sub(a, b),
  mul: ({ a, b }) => mul(a, b),
  div: ({ a, b }) => div(a, b),
  permute: ({ x }, { axes }) => permute(x, axes),
  reshape: ({ x }, { shape }) => reshape(x, shape),
  permute_reshape: ({ x }, { axes, shape }) => reshape(permute(x, axes), shape),
  slice: ({ x }, { ranges }) => slice(x, ranges),
  concat: ({ a, b }, { axis }) => concat([a, b], axis),
  where: ({ condition, a, b }) => where(condition, a, b),
  masked_fill: ({ x, mask }, { value }) => maskedFill(x, mask, value),
};

/** Every case of a family: outputs and gradients. */
export async function compareOperators(family: string, device: Device): Promise<void> {
  const { cases } = manifest(family) as { cases: GoldenCase[] };
  const stored = await tensorsOf(family);
  const comparison = new Comparison(family.replace(/^operators_/, ""), deviceName(device));
  for (const one of cases) {
    await comparison.run(one.name, async () => {
      using _scope = new Scope();
      const operator = OPERATORS[one.op];
      if (!operator) throw new Error(`The operator "${one.op}" is not known here`);
      const golden = (name: string) => pick(stored, `${one.name}.${name}`);
      const inputs: Inputs = {};
      for (const name of one.inputs) {
        inputs[name] = upload(golden(name), device);
        inputs[name].requiresGrad = one.grads.includes(`d${name}`);
      }
      const result = operator(inputs, one.attrs, device);
      const outputs: Inputs = result instanceof Tensor ? { y: result } : result;
      if (one.grads.length) outputs.y.backward(upload(golden("dy"), device));
      await comparison.tensors([...one.outputs, ...one.grads].map((name) => {
        const found = one.outputs.includes(name) ? outputs[name] : inputs[name.slice(1)]?.grad;
        if (!found) throw new Error(`There is no "${name}"`);
        return {
          name: `${one.name} ${name}`,
          found,
          expected: golden(name),
          tolerance: one.tolerance[name],
        };
      }));
    });
  }
  comparison.finish();
}
