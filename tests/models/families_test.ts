// The families after LLaMA against a plain reference: loops over numbers, in float64, written from the papers and from what
// `transformers` documents. That llama.cpp gives the same tokens is held by `deno task proof:families`.
import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import type { Decoder, LayerType } from "../../src/models/decoder.ts";
import { Gemma3 } from "../../src/models/gemma3.ts";
import { LLaMA } from "../../src/models/llama.ts";
import { Mistral } from "../../src/models/mistral.ts";
import { Phi3 } from "../../src/models/phi3.ts";
import { Qwen2, Qwen3 } from "../../src/models/qwen.ts";
import { SmolLM3 } from "../../src/models/smollm3.ts";
import type { RotaryScaling } from "../../src/ops/rotary.ts";
import { assign, tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { assertClose } from "../support/compare.ts";
import { onEachDevice, testDevices } from "../support/devices.ts";

const [cpu] = await testDevices();
const sizes = {
  vocabSize: 19,
  maxPositionEmbeddings: 80,
  hiddenSize: 12,
  intermediateSize: 20,
  numHiddenLayers: 4,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
  headDim: 8,
  rmsNormEps: 1e-5,
};
const [E, H, HKV, D, F, EPS] = [12, 4, 2, 8, 20, 1e-5];
const TIME = 17;
const IDS = [1, 2].map((seed) =>
  Array.from({ length: TIME }, (_, i) => (i * i * 7 + i * 3 + seed * 5) % sizes.vocabSize)
);

/** What a family computes otherwise than LLaMA 2, in plain numbers. */
interface Spec {
  readonly layers?: number;
  /** Radians a position of each pair of a layer's heads; null: no rotary positions. */
  readonly frequencies?: (layer: number) => readonly number[] | null;
  /** By what turned queries and keys are multiplied. */
  readonly turnedScale?: number;
  readonly window?: (layer: number) => number;
  readonly scoreScale?: number;
  readonly embeddingScale?: number;
  readonly gelu?: boolean;
  /** Scores stay within +- so much, by a hyperbolic tangent. */
  readonly cap?: number;
  readonly normOffset?: number;
}

const powers = (theta: number, width = D) =>
  Array.from({ length: width / 2 }, (_, i) => 1 / theta ** (2 * i / width));

/** YaRN's frequencies, as `transformers` makes them (`_compute_yarn_parameters`). */
function yarnFrequencies(theta: number, factor: number, context: number): number[] {
  const correction = (turns: number) =>
    D * Math.log(context / (turns * 2 * Math.PI)) / (2 * Math.log(theta));
  const low = Math.max(Math.floor(correction(32)), 0);
  const high = Math.min(Math.ceil(correction(1)), D - 1);
  return powers(theta).map((frequency, i) => {
    const ramp = Math.min(1, Math.max(0, (i - low) / (high - low)));
    return frequency / factor * ramp + frequency * (1 - ramp);
  });
}

const yarn: RotaryScaling = {
  type: "yarn",
  factor: 4,
  betaFast: 32,
  betaSlow: 1,
  originalContextSize: 40,
};
const lastTwo: LayerType[] = [
  "full_attention",
  "full_attention",
  "sliding_attention",
  "sliding_attention",
];
const options = { device: cpu, random: null };

type Create = (device: Device) => Decoder;
const FAMILIES: Readonly<Record<string, [Create, Spec]>> = {
  "LLaMA with wide heads": [
    (device) => new LLaMA({ ...sizes, ropeTheta: 300 }, { ...options, device }),
    { frequencies: () => powers(300) },
  ],
  "Qwen 2.5 with YaRN": [
    (device) => new Qwen2({ ...sizes, ropeTheta: 100, ropeScaling: yarn }, { ...options, device }),
    { frequencies: () => yarnFrequencies(100, 4, 40), turnedScale: 0.1 * Math.log(4) + 1 },
  ],
  "Qwen 3 with windows": [
    (device) =>
      new Qwen3({
        ...{ ...sizes, tieWordEmbeddings: true, slidingWindow: 5 },
        layerTypes: lastTwo,
      }, { ...options, device }),
    { window: (layer) => layer < 2 ? Infinity : 5 },
  ],
  "Mistral with a window": [
    (device) => new Mistral({ ...sizes, slidingWindow: 6 }, { ...options, device }),
    { window: () => 6 },
  ],
  "SmolLM 3": [
    (device) => new SmolLM3({ ...sizes, tieWordEmbeddings: true }, { ...options, device }),
    { frequencies: (layer) => layer % 4 === 3 ? null : powers(10_000) },
  ],
  "Phi 3, partly turned": [
    (device) => new Phi3({ ...sizes, partialRotaryFactor: 0.5 }, { ...options, device }),
    { frequencies: () => powers(10_000, 4) },
  ],
  "Gemma 3": [
    (device) =>
      new Gemma3({
        ...{ ...sizes, numHiddenLayers: 6, slidingWindow: 5, ropeTheta: 1000 },
        ...{ ropeLocalBaseFreq: 50, queryPreAttnScalar: 12, finalLogitSoftcapping: 4 },
        ropeScaling: { type: "linear", factor: 2 },
      }, { ...options, device }),
    {
      ...{ layers: 6, gelu: true, cap: 4, normOffset: 1, embeddingScale: Math.sqrt(E) },
      scoreScale: 1 / Math.sqrt(12),
      window: (layer) => layer === 5 ? Infinity : 5,
      frequencies: (layer) => layer === 5 ? powers(1000).map((one) => one / 2) : powers(50),
    },
  ],
};

/** Weights in which every part counts: no norm is 1, no bias 0, attention is sharp. Multiples of 1/256, exact in f32. */
function weightsOf(model: Decoder): Map<string, Float64Array> {
  let state = 5;
  const noise = () => {
    state = Math.imul(state, 1664525) + 1013904223 | 0;
    return Math.round(state / 2 ** 31 * 256) / 256;
  };
  return new Map([...model.parameters()].map(([name, { shape, size }]) => {
    const mean = name.endsWith("norm.weight") ? 1 : 0;
    const scale = shape.length === 1 || name.includes("embed") ? 0.5 : 1;
    return [name, Float64Array.from({ length: size }, () => mean + scale * noise())];
  }));
}

function matvec(weight: Float64Array, x: ArrayLike<number>, bias?: Float64Array): Float64Array {
  return Float64Array.from({ length: weight.length / x.length }, (_, row) => {
    let sum = bias?.[row] ?? 0;
    for (let i = 0; i < x.length; i++) sum += weight[row * x.length + i] * x[i];
    return sum;
  });
}

function norm(x: Float64Array, weight: Float64Array, offset: number): Float64Array {
  const meanSquare = x.reduce((sum, value) => sum + value * value, 0) / x.length;
  return x.map((value, i) => value / Math.sqrt(meanSquare + EPS) * (weight[i] + offset));
}

/** Scores of every next token of one sequence, row by row. */
function reference(
  weights: ReadonlyMap<string, Float64Array>,
  spec: Spec,
  ids: readonly number[],
): Float64Array[] {
  const { layers = 4, frequencies = () => powers(10_000), window, normOffset = 0 } = spec;
  const { turnedScale = 1, scoreScale = 1 / Math.sqrt(D), embeddingScale = 1 } = spec;
  const get = (name: string) => weights.get(name)!;
  const embedding = get("model.embed_tokens.weight");
  let stream = ids.map((id) =>
    embedding.slice(id * E, (id + 1) * E).map((value) => value * embeddingScale)
  );
  for (let layer = 0; layer < layers; layer++) {
    const own = (name: string) => weights.get(`model.layers.${layer}.${name}`);
    const heads = (x: Float64Array, count: number, normWeight?: Float64Array) =>
      Array.from({ length: count }, (_, h) => {
        const head = x.slice(h * D, (h + 1) * D);
        return normWeight ? norm(head, normWeight, normOffset) : head;
      });
    const turn = (x: Float64Array, position: number) => {
      const turns = frequencies(layer);
      if (!turns) return x;
      const y = x.slice();
      turns.forEach((frequency, i) => {
        const [a, b] = [x[i], x[i + turns.length]], angle = position * frequency;
        y[i] = turnedScale * (a * Math.cos(angle) - b * Math.sin(angle));
        y[i + turns.length] = turnedScale * (a * Math.sin(angle) + b * Math.cos(angle));
      });
      return y;
    };
    const projected = stream.map((x, position) => {
      const normed = norm(x, own("input_layernorm.weight")!, normOffset);
      const fused = own("self_attn.qkv_proj.weight");
      const qkv = fused ? matvec(fused, normed) : Float64Array.from(
        ["q", "k", "v"].flatMap((part) => [...matvec(
          own(`self_attn.${part}_proj.weight`)!,
          normed,
          own(`self_attn.${part}_proj.bias`),
        )]),
      );
      const [q, k] = [H, H + HKV].map((end) => end * D);
      return {
        queries: heads(qkv.slice(0, q), H, own("self_attn.q_norm.weight"))
          .map((head) => turn(head, position)),
        keys: heads(qkv.slice(q, k), HKV, own("self_attn.k_norm.weight"))
          .map((head) => turn(head, position)),
        values: heads(qkv.slice(k), HKV),
      };
    });
    const inner = own("post_feedforward_layernorm.weight");
    stream = stream.map((x, t) => {
      const mixed = new Float64Array(H * D);
      for (let h = 0; h < H; h++) {
        const kv = Math.floor(h / (H / HKV));
        const first = Math.max(0, t - (window?.(layer) ?? Infinity) + 1);
        const scores: number[] = [];
        for (let s = first; s <= t; s++) {
          let score = 0;
          for (let c = 0; c < D; c++) {
            score += projected[t].queries[h][c] * projected[s].keys[kv][c];
          }
          scores.push(Math.exp(score * scoreScale));
        }
        const sum = scores.reduce((a, b) => a + b);
        scores.forEach((weight, i) => {
          for (let c = 0; c < D; c++) {
            mixed[h * D + c] += weight / sum * projected[first + i].values[kv][c];
          }
        });
      }
      const attended = matvec(own("self_attn.o_proj.weight")!, mixed);
      const after = own("post_attention_layernorm.weight")!;
      const added = inner ? norm(attended, after, normOffset) : attended;
      const middle = x.map((value, i) => value + added[i]);
      const before = inner ? own("pre_feedforward_layernorm.weight")! : after;
      const normed = norm(middle, before, normOffset);
      const both = own("mlp.gate_up_proj.weight");
      const gate = both
        ? matvec(both, normed).slice(0, F)
        : matvec(own("mlp.gate_proj.weight")!, normed);
      const up = both ? matvec(both, normed).slice(F) : matvec(own("mlp.up_proj.weight")!, normed);
      const activated = gate.map((g, i) => {
        const cubic = Math.sqrt(2 / Math.PI) * (g + 0.044715 * g ** 3);
        return up[i] * (spec.gelu ? g * (1 + Math.tanh(cubic)) / 2 : g / (1 + Math.exp(-g)));
      });
      const down = matvec(own("mlp.down_proj.weight")!, activated);
      const y = inner ? norm(down, inner, normOffset) : down;
      return middle.map((value, i) => value + y[i]);
    });
  }
  const head = weights.get("lm_head.weight") ?? embedding;
  const capped = (score: number) => spec.cap ? spec.cap * Math.tanh(score / spec.cap) : score;
  return stream.map((x) => matvec(head, norm(x, get("model.norm.weight"), normOffset)).map(capped));
}

/** The mean cross-entropy of every next id, the first after the last. */
function referenceLoss(weights: ReadonlyMap<string, Float64Array>, spec: Spec): number {
  const losses = IDS.flatMap((ids) =>
    reference(weights, spec, ids).map((scores, t) => {
      const sum = scores.reduce((total, score) => total + Math.exp(score), 0);
      return Math.log(sum) - scores[ids[(t + 1) % TIME]];
    })
  );
  return losses.reduce((a, b) => a + b) / losses.length;
}

function createWith(create: Create, device: Device) {
  const model = create(device);
  const weights = weightsOf(model);
  for (const [name, parameter] of model.parameters()) {
    assign(parameter, Float32Array.from(weights.get(name)!));
  }
  return { model, weights };
}

for (const [name, [create, spec]] of Object.entries(FAMILIES)) {
  await onEachDevice(
    `${name}: logits equal the reference, with and without a cache`,
    async (device) => {
      using _scope = new Scope();
      const { model, weights } = createWith(create, device);
      const expected = IDS.flatMap((ids) => reference(weights, spec, ids));
      const ids = (rows: number[][]) => tensor(rows, { device, dtype: "i32" });
      const whole = noGrad(() => model.logits(ids(IDS)));
      assertClose(await whole.data(), expected.flatMap((row) => [...row]), 2e-5, "uncached");
      // Prompts of unequal length at once, then one token a row.
      const lengths = [9, 4];
      using cache = model.createCache(2);
      const cached = [model.nextLogits(ids(IDS.map((row) => row.slice(0, 9))), { cache, lengths })];
      for (let step = 0; step < TIME - 9; step++) {
        const next = IDS.map((row, b) => [row[lengths[b] + step]]);
        cached.push(model.nextLogits(ids(next), { cache }));
      }
      for (const [step, found] of (await readTensors(cached)).entries()) {
        const wanted = lengths.flatMap((length, b) => [...expected[b * TIME + length - 1 + step]]);
        assertClose(found, wanted, 2e-5, `cached, step ${step}`);
      }
      // Several tokens after those in the cache.
      using second = model.createCache(2);
      model.nextLogits(ids(IDS.map((row) => row.slice(0, 7))), { cache: second });
      const later = model.nextLogits(ids(IDS.map((row) => row.slice(7))), { cache: second });
      const last = [0, 1].flatMap((b) => [...expected[b * TIME + TIME - 1]]);
      assertClose(await later.data(), last, 2e-5, "cached, several tokens");
      model.dispose();
    },
  );

  await onEachDevice(`${name}: gradients are the slope of the reference's loss`, async (device) => {
    using _scope = new Scope();
    const { model, weights } = createWith(create, device);
    const targets = IDS.map((row) => [...row.slice(1), row[0]]);
    const loss = model.loss(
      tensor(IDS, { device, dtype: "i32" }),
      tensor(targets, { device, dtype: "i32" }),
    );
    loss.backward();
    assert.ok(Math.abs(await loss.item() / referenceLoss(weights, spec) - 1) < 1e-5);
    // Along a direction for each kind of parameter.
    const kinds = Map.groupBy(model.parameters(), ([name]) => name.replace(/\.\d+\./, ".*."));
    for (const [kind, parameters] of kinds) {
      let slope = 0;
      const [ahead, behind] = [new Map(weights), new Map(weights)], step = 1e-5;
      for (const [name, { grad }] of parameters) {
        const gradient = await grad!.data(), values = weights.get(name)!;
        const direction = values.map((_, i) => Math.sin(7 * i + 1));
        slope += direction.reduce((sum, value, i) => sum + value * gradient[i], 0);
        ahead.set(name, values.map((value, i) => value + step * direction[i]));
        behind.set(name, values.map((value, i) => value - step * direction[i]));
      }
      const expected = (referenceLoss(ahead, spec) - referenceLoss(behind, spec)) / (2 * step);
      const error = Math.abs(slope - expected);
      assert.ok(error < 1e-4 * Math.max(0.5, Math.abs(expected)), `${kind}: ${slope}, ${expected}`);
    }
    model.dispose();
  });
}

Deno.test("families refuse sizes that do not fit", () => {
  const message = (make: () => unknown, expected: string) =>
    assert.throws(make, { name: "RangeError", message: expected });
  message(
    () => new Qwen3({ ...sizes, headDim: 7 }, options),
    "Qwen3: expected an even headDim but got 7",
  );
  message(
    () => new Qwen3({ ...sizes, layerTypes: ["full_attention"] }, options),
    "Qwen3: expected 4 layerTypes, one a block, but got 1",
  );
  message(
    () => new Qwen2({ ...sizes, layerTypes: Array(4).fill("sliding_attention") }, options),
    "Qwen2: expected a slidingWindow for blocks of sliding attention but got none",
  );
  message(
    () => new SmolLM3({ ...sizes, noRopeLayers: [1] }, options),
    "SmolLM3: expected 4 noRopeLayers, one a block, but got 1",
  );
});
