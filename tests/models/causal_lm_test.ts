import assert from "node:assert/strict";
import {
  causalAttention,
  CausalLM,
  type CausalLMConfig,
  Embedding,
  generate,
  Linear,
  Module,
  type Pass,
  RandomState,
  reshape,
  RMSNorm,
  Scope,
  seenKeys,
  splitHeads,
  type Tensor,
  tensor,
} from "../../mod.ts";
import { argmax } from "../../src/ops/reduce.ts";
import { assertClose } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";

class Block extends Module {
  /** Whether tokens see whatever is before them in the row. */
  isCareless = false;
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly o: Linear;

  constructor(options: ConstructorParameters<typeof Linear>[2]) {
    super();
    this.q = new Linear(12, 4 * 8, options);
    this.k = new Linear(12, 2 * 8, options);
    this.v = new Linear(12, 2 * 8, options);
    this.o = new Linear(4 * 8, 12, options);
  }

  forward(x: Tensor, pass: Pass): Tensor {
    const [keys, values] = [this.k, this.v].map((layer) => splitHeads(layer.forward(x), 2));
    const seen = this.isCareless ? { keys, values } : seenKeys(pass, keys, values);
    const mixed = causalAttention.mix(splitHeads(this.q.forward(x), 4), seen);
    return this.o.forward(reshape(mixed, [...x.shape.slice(0, 2), 4 * 8]), x);
  }
}

class Wide extends CausalLM {
  readonly config: CausalLMConfig = {
    ...{ vocabSize: 30, maxPositionEmbeddings: 16, hiddenSize: 12, numHiddenLayers: 2 },
    ...{ numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 8 },
  };
  readonly wte: Embedding;
  readonly stack: readonly Block[];
  readonly last: RMSNorm;

  constructor(options: ConstructorParameters<typeof Embedding>[2]) {
    super();
    this.wte = new Embedding(30, 12, options);
    this.stack = [new Block(options), new Block(options)];
    this.last = new RMSNorm(12, options);
  }

  protected get blocks() {
    return this.stack;
  }
  protected get norm() {
    return this.last;
  }
  protected get head() {
    return this.wte.weight;
  }
  protected embed(ids: Tensor) {
    return this.wte.forward(ids);
  }
}

await onEachDevice(
  "a model with heads of another size than E / H decodes on its cache",
  async (device) => {
    using model = new Wide({ device, random: new RandomState(3) });
    const prompt = [3, 1, 4, 1, 5];
    const [{ ids }] = await generate(model, [prompt], { length: 8, temperature: 0 });
    const slowly = [...prompt];
    for (let i = 0; i < 8; i++) {
      using _scope = new Scope();
      const row = tensor([slowly], { dtype: "i32", device });
      slowly.push(await argmax(model.nextLogits(row)).item());
    }
    assert.deepEqual([...ids], slowly.slice(prompt.length));
  },
);

await onEachDevice("a block that ignores the borders of documents is refused", async (device) => {
  using model = new Wide({ device, random: new RandomState(3) });
  using _scope = new Scope();
  const row = (ids: number[]) => tensor([ids], { dtype: "i32", device });
  const positions = row([0, 1, 2, 0, 1]);
  const whole = await model.hidden(row([3, 1, 4, 1, 5]), { positions }).data();
  const second = await model.hidden(row([1, 5])).data();
  assertClose(whole.slice(-second.length), second, 1e-5);
  model.stack[1]!.isCareless = true;
  for (const recompute of [false, true]) {
    assert.throws(
      () => model.hidden(row([3, 1, 4, 1, 5]), { positions, recompute }),
      /^TypeError: attention: expected the positions of the forward pass, .* but got none$/,
    );
  }
  model.hidden(row([3, 1, 4, 1, 5])); // one document
});
