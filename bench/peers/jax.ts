/**
 * jax-js, compiled with its `jit`: the matrix product and the GPT's training step.
 * `deno run -A jax.ts wasm|webgpu`, driven by `contender.ts`.
 */
import * as jax from "npm:@jax-js/jax@0.1.25";
import { serve, type Work } from "./serve.ts";
import { ADAMW, BATCH, GPT, initialParameters, randomMatrix, trainingTokens } from "./workload.ts";

const backend = Deno.args[0] === "webgpu" ? "webgpu" : "wasm";
// deno-lint-ignore no-explicit-any -- its types do not tell a traced array from a value
const { numpy: np, nn, tree, jit, valueAndGrad, blockUntilReady } = jax as any;
// deno-lint-ignore no-explicit-any
type JaxArray = any;
type JaxTree = Record<string, JaxArray>;

if (!(await jax.init()).includes(backend)) throw new Error(`jax-js finds no ${backend}`);
jax.defaultDevice(backend);

const threads = `${navigator.hardwareConcurrency} threads`;
await serve(`jax-js 0.1.25, ${backend === "wasm" ? `WASM, ${threads}` : "WebGPU"}`, {
  matmul,
  train,
});

async function matmul(n: number): Promise<Work> {
  const [a, b] = [1, 2].map((seed) => np.array(randomMatrix(n, seed)).reshape([n, n]));
  await blockUntilReady([a, b]);
  const multiply = jit((x: JaxArray, y: JaxArray) => np.matmul(x, y));
  return {
    async run(repeats) {
      // What nobody waits for is never computed, so products are kept, but not too many.
      for (let left = repeats; left > 0; left -= 16) {
        const products = Array.from({ length: Math.min(left, 16) }, () => multiply(a.ref, b.ref));
        await blockUntilReady(products);
        tree.dispose(products);
      }
    },
    dispose: () => tree.dispose([a, b]),
  };
}

/** Forward, backward and AdamW as one compiled function; it does not clip, which is in its favour. */
function train(): Work {
  const weights: JaxTree = {};
  for (const [name, { data, shape }] of initialParameters()) {
    weights[name] = np.array(data).reshape(shape);
  }
  const zeros = () => tree.map((weight: JaxArray) => np.zeros(weight.shape), weights);
  let state = [weights, zeros(), zeros()];
  const { ids, targets } = trainingTokens();
  const rows = (values: Int32Array) => np.array(values).reshape([BATCH, GPT.context]);
  const step = jit(trainStep);
  const losses: number[] = [];
  return {
    async run(repeats) {
      for (let i = 0; i < repeats; i++) {
        const time = losses.length + 1;
        const corrections = [ADAMW.beta1, ADAMW.beta2].map((beta) => np.array(1 - beta ** time));
        const [loss, next] = step(...state, rows(ids), rows(targets), ...corrections);
        state = next;
        losses.push((await loss.data())[0]);
        await blockUntilReady(state);
      }
    },
    report: () => Promise.resolve({ losses: losses.slice(0, 3) }),
  };
}

// An array is used up by the operation it goes into; `ref` is a use that leaves it alive.

function trainStep(
  weights: JaxTree,
  m: JaxTree,
  v: JaxTree,
  ids: JaxArray,
  targets: JaxArray,
  correction1: JaxArray,
  correction2: JaxArray,
): [JaxArray, JaxTree[]] {
  const [loss, grads] = valueAndGrad(meanLoss)(tree.ref(weights), ids, targets);
  const { lr, beta1, beta2, eps, weightDecay } = ADAMW;
  const [newWeights, newM, newV]: JaxTree[] = [{}, {}, {}];
  for (const [name, weight] of Object.entries(weights)) {
    const grad = grads[name];
    newM[name] = m[name].mul(beta1).add(grad.ref.mul(1 - beta1));
    newV[name] = v[name].mul(beta2).add(np.square(grad).mul(1 - beta2));
    const root = np.sqrt(newV[name].ref.div(correction2.ref)).add(eps);
    const update = newM[name].ref.div(correction1.ref).div(root).mul(lr);
    newWeights[name] = weight.mul(weight.ndim > 1 ? 1 - lr * weightDecay : 1).sub(update);
  }
  correction1.dispose();
  correction2.dispose();
  return [loss, [newWeights, newM, newV]];
}

function meanLoss(weights: JaxTree, ids: JaxArray, targets: JaxArray): JaxArray {
  const logProbs = nn.logSoftmax(logits(weights, ids).reshape([-1, GPT.vocab]), -1);
  const picked = logProbs.mul(nn.oneHot(targets.reshape([-1]), GPT.vocab)).sum();
  return picked.mul(-1 / (BATCH * GPT.context));
}

function logits(weights: JaxTree, ids: JaxArray): JaxArray {
  const [batch, length] = ids.shape;
  const headShape = [batch, length, GPT.heads, GPT.embed / GPT.heads];
  const linear = (x: JaxArray, name: string) =>
    np.matmul(x, weights[`${name}.w`]).add(weights[`${name}.b`]);
  const norm = (x: JaxArray, name: string) =>
    nn.standardize(x, -1).mul(weights[`${name}.g`]).add(weights[`${name}.b`]);
  // On WebGPU the gradient of `take` is a scatter that Deno's WGSL compiler refuses.
  const embedded = backend === "webgpu"
    ? np.matmul(nn.oneHot(ids, GPT.vocab), weights.tok.ref)
    : np.take(weights.tok.ref, ids, 0);
  let x = embedded.add(weights.pos);
  for (let i = 0; i < GPT.layers; i++) {
    const mixed = np.split(linear(norm(x.ref, `${i}.ln1`), `${i}.qkv`), 3, -1);
    const [q, k, v] = mixed.map((part: JaxArray) => part.reshape(headShape));
    const attended = nn.dotProductAttention(q, k, v, { isCausal: true });
    x = x.add(linear(attended.reshape([batch, length, GPT.embed]), `${i}.proj`));
    const hidden = nn.gelu(linear(norm(x.ref, `${i}.ln2`), `${i}.up`));
    x = x.add(linear(hidden, `${i}.down`));
  }
  return np.matmul(norm(x, "ln"), np.transpose(weights.tok));
}
