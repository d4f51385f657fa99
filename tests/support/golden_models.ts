/**
 * The models against golden values.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import type { CausalLM } from "../../src/models/causal_lm.ts";
import { GPT2, type GPT2Config } from "../../src/models/gpt2.ts";
import { GPT3 } from "../../src/models/gpt3.ts";
import { gatedIntermediateSize } from "../../src/models/decoder.ts";
import { LLaMA, type LLaMAConfig } from "../../src/models/llama.ts";
import { Transformer, type TransformerConfig } from "../../src/models/transformer.ts";
import type { ParameterOptions } from "../../src/nn/init.ts";
import { checkStateDict } from "../../src/nn/state_dict.ts";
import { slice } from "../../src/ops/shape.ts";
import { Adam, AdamW } from "../../src/optim/adamw.ts";
import { clipGradNorm } from "../../src/optim/clip_grad_norm.ts";
import { zeroGrad } from "../../src/optim/parameters.ts";
import { assign } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";
import { deviceName } from "./devices.ts";
import { Comparison, type GoldenTensor, manifest, pick, tensorsOf, upload } from "./golden.ts";

/** A model as the comparison calls it. */
interface Subject {
  parameters(): ReadonlyMap<string, Tensor>;
  parameterCount(): number;
  dispose(): void;
  /** All that a forward pass gives, by its golden name. */
  forward(inputs: Inputs): Record<string, Tensor>;
  loss(inputs: Inputs): Tensor;
}

/** The ids of the golden file, by name. */
type Inputs = Record<string, Tensor>;
// deno-lint-ignore no-explicit-any -- as the manifest has them
type Config = Record<string, any>;
type Create = (config: Config, options: ParameterOptions) => Subject;

/** The kinds of models, made from a golden configuration. */
const KINDS: Readonly<Record<string, Create>> = {
  gpt2: (config, options) => languageModel(new GPT2(sizes(config), options)),
  gpt3: (config, options) =>
    languageModel(
      new GPT3({ ...sizes(config), localBlockSize: config.local_block_size }, options),
    ),
  llama1: llama,
  llama2: llama,
  llama3: llama,
  transformer: (config, options) => transformer(config, options),
};

/** Whether models of this kind are known here. */
export function isModel(kind: string): boolean {
  return kind in KINDS;
}

function llama(config: Config, options: ParameterOptions): Subject {
  return languageModel(new LLaMA(llamaSizes(config), options));
}

/** The sizes of a golden LLaMA. */
export function llamaSizes(config: Config): LLaMAConfig {
  const { intermediateSize: h, ...rest } = sizes(config);
  const grouped = { ...rest, numKeyValueHeads: config.attn_kv_groups || config.attn_heads };
  return {
    ...grouped,
    intermediateSize: gatedIntermediateSize(grouped, h),
    ropeTheta: config.rope_theta,
    ropeLayout: "interleaved",
  };
}

/** What the language models' configurations have in common, in our names. */
export function sizes(config: Config): GPT2Config {
  return {
    vocabSize: config.vocab_size,
    maxPositionEmbeddings: config.context_size,
    hiddenSize: config.embed_size,
    intermediateSize: config.hidden_size,
    numHiddenLayers: config.n_layers,
    numAttentionHeads: config.attn_heads,
  };
}

/** Names of the golden parameters of a GPT's block that ours have otherwise. */
const NAMES: Readonly<Record<string, string>> = {
  "attn.o_proj": "attn.c_proj",
  "mlp.fc1": "mlp.c_fc",
  "mlp.fc2": "mlp.c_proj",
};

/** Our name of a golden parameter, and which third of it: ours has queries, keys and values in one. */
function ourName(golden: string): { name: string; third?: number } {
  const [, block, part, kind] = /^(h\.\d+)\.(\w+\.\w+)\.(\w+)$/.exec(golden) ?? [];
  const third = ["attn.q_proj", "attn.k_proj", "attn.v_proj"].indexOf(part);
  if (third >= 0) return { name: `${block}.attn.c_attn.${kind}`, third };
  return { name: part in NAMES ? `${block}.${NAMES[part]}.${kind}` : golden };
}

/** Golden parameters by our names. */
export function byOurNames(golden: ReadonlyMap<string, GoldenTensor>): Map<string, GoldenTensor> {
  const parts = Map.groupBy(golden, ([name]) => ourName(name).name);
  return new Map([...parts].map(([name, parts]) => {
    const tensors = parts.map(([, tensor]) => tensor);
    if (tensors.length === 1) return [name, tensors[0]];
    const [{ data: { length }, shape: [rows, ...rest] }] = tensors;
    const data = new Float32Array(3 * length);
    tensors.forEach((part, i) => data.set(part.data, i * length));
    return [name, { data, shape: [3 * rows, ...rest] }];
  }));
}

function languageModel(model: CausalLM): Subject {
  return {
    parameters: () => model.parameters(),
    parameterCount: () => model.parameterCount(),
    dispose: () => model.dispose(),
    loss: ({ input_ids, targets }) => model.loss(input_ids, targets),
    forward({ input_ids }) {
      const [embed, ...blocks] = model.hiddenStates(input_ids);
      return {
        "logits": model.logits(input_ids),
        "hidden.embed": embed,
        ...numbered("hidden", blocks),
      };
    },
  };
}

/** A translator's configuration, in our names. */
export function translatorSizes(config: Config): TransformerConfig {
  return {
    sourceVocabSize: config.src_vocab_size,
    targetVocabSize: config.tgt_vocab_size,
    hiddenSize: config.embed_size,
    intermediateSize: config.hidden_size,
    numHiddenLayers: config.n_layers,
    numAttentionHeads: config.attn_heads,
    padTokenId: config.pad_id,
  };
}

function transformer(
  config: Config,
  options: ParameterOptions,
  more: Partial<TransformerConfig> = {},
): Subject {
  const model = new Transformer({ ...translatorSizes(config), ...more }, options);
  const labelSmoothing = config.label_smoothing;
  return {
    parameters: () => model.parameters(),
    parameterCount: () => model.parameterCount(),
    dispose: () => model.dispose(),
    loss: ({ src_ids, decoder_input_ids, targets }) =>
      model.loss(src_ids, decoder_input_ids, targets, { labelSmoothing }),
    forward({ src_ids, decoder_input_ids }) {
      const [, ...encoder] = model.encoderStates(src_ids);
      const memory = model.encode(src_ids);
      const source = model.sourceKeys(memory);
      const [, ...decoder] = model.decoderStates(decoder_input_ids, source);
      return {
        "logits": model.logits(src_ids, decoder_input_ids),
        "encoder.memory": memory.states,
        ...numbered("encoder.hidden", encoder),
        ...numbered("decoder.hidden", decoder),
      };
    },
  };
}

/** Tensors under `<prefix>.<index>`. */
function numbered(prefix: string, tensors: readonly Tensor[]): Record<string, Tensor> {
  return Object.fromEntries(tensors.map((tensor, i) => [`${prefix}.${i}`, tensor]));
}

/** The numbers of parameters in `parameter_counts.json`, of models that are built without memory. */
export async function compareParameterCounts(): Promise<void> {
  const comparison = new Comparison("parameter_counts", "any");
  for (const golden of manifest("parameter_counts").models) {
    const { name, config } = golden;
    await comparison.run(name, () => {
      if (!isModel(config.kind)) throw new Error(`Nothing is known of the kind "${config.kind}"`);
      const model = KINDS[config.kind](config, { device: weightless() });
      comparison.values(name, [model.parameterCount()], [golden.n_params], 0);
      if (golden.intermediate_size) {
        const [gated, embed] = model.parameters().get("model.layers.0.mlp.gate_proj.weight")!.shape;
        const [keys] = model.parameters().get("model.layers.0.self_attn.k_proj.weight")!.shape;
        const kvHeads = keys / (embed / config.attn_heads);
        assert.deepEqual([gated, kvHeads], [golden.intermediate_size, golden.kv_heads]);
      }
      model.dispose();
    });
  }
  comparison.finish();
}

/** A device whose buffers have no memory and whose launches do nothing. */
function weightless(): Device {
  const device = {
    kind: "cpu",
    description: "no device",
    dtypes: new Set(["f32"]),
    createBuffer: (bytes: number) => ({ device, bytes }),
    releaseBuffer: () => {},
    write: () => {},
    launch: () => {},
  };
  return device as unknown as Device;
}

/** Everything a forward pass gives, loss, every gradient, and the training curve of a model of the folder. */
export async function compareModel(name: string, device: Device): Promise<void> {
  const golden = manifest(name);
  const { config, tolerance } = golden;
  const start = byOurNames(await tensorsOf(`${name}.params`));
  const expected = await tensorsOf(`${name}.expect`);
  const comparison = new Comparison(name, deviceName(device));
  const model = KINDS[config.kind](config, { device });
  const parameters = model.parameters();
  checkStateDict(parameters, start, `${name}.params.safetensors`);
  for (const [name, { data }] of start) assign(parameters.get(name)!, data);
  const ids = [...expected].filter(([, { data }]) => data instanceof Int32Array);
  const inputs: Inputs = Object.fromEntries(
    ids.map(([name, tensor]) => [name, upload(tensor, device)]),
  );
  const outputs = [...expected.keys()].filter((name) =>
    !(name in inputs) && !name.startsWith("grad.") && name !== "logits_project_quirk"
  );

  await comparison.run("size", () => {
    comparison.values("n_params", [model.parameterCount()], [golden.n_params], 0.5);
  });

  await comparison.run("forward", async () => {
    using _scope = new Scope();
    const found = noGrad(() => model.forward(inputs));
    await comparison.tensors(outputs.map((name) => {
      if (!found[name]) throw new Error(`There is no "${name}"`);
      const within = name === "logits" ? tolerance.logits_abs : tolerance.hidden_abs;
      return { name, found: found[name], expected: pick(expected, name), tolerance: within };
    }));
  });

  await comparison.run("backward", async () => {
    using _scope = new Scope();
    const loss = model.loss(inputs);
    loss.backward();
    comparison.relative("loss", await loss.item(), golden.loss, tolerance.loss_rel);
    const gradients = [...expected].filter(([name]) => name.startsWith("grad."));
    await comparison.tensors(gradients.map(([name, wanted]) => {
      const our = ourName(name.slice("grad.".length));
      const grad = parameters.get(our.name)?.grad;
      if (!grad) throw new Error(`"${our.name}" has no gradient`);
      const [rows] = wanted.shape;
      const found = our.third === undefined
        ? grad
        : slice(grad, [[our.third * rows, (our.third + 1) * rows]]);
      let largest = 0;
      for (const value of wanted.data) largest = Math.max(largest, Math.abs(value));
      return { name, found, expected: wanted, tolerance: Math.max(2e-6, 1e-4 * largest) };
    }));
    const { norm } = clipGradNorm(parameters, Infinity);
    comparison.relative("grad_norm", await norm.item(), golden.grad_norm, tolerance.grad_norm_rel);
    zeroGrad(parameters);
  });

  if (expected.has("logits_project_quirk")) {
    await comparison.run("quirk", async () => {
      using _scope = new Scope();
      const quirk = transformer(config, { device }, { encoderFeedForwardNorm: "branch" });
      for (const [name, { data }] of start) assign(quirk.parameters().get(name)!, data);
      const [{ logits }, loss] = noGrad(() => [quirk.forward(inputs), quirk.loss(inputs)]);
      const wanted = pick(expected, "logits_project_quirk");
      const within = tolerance.logits_abs;
      const name = "logits_project_quirk";
      await comparison.tensors([{ name, found: logits, expected: wanted, tolerance: within }]);
      const lossWanted = golden.loss_project_quirk;
      comparison.relative("loss_quirk", await loss.item(), lossWanted, tolerance.loss_rel);
      quirk.dispose();
    });
  }

  await comparison.run("training curve", async () => {
    const { training } = golden;
    const { lr, betas, eps, weight_decay: weightDecay } = training;
    using optimizer = weightDecay
      ? new AdamW(parameters, { lr, betas, eps, weightDecay })
      : new Adam(parameters, { lr, betas, eps });
    for (let step = 0; step < training.steps; step++) {
      using _scope = new Scope();
      const loss = model.loss(inputs);
      loss.backward();
      const { norm, factor } = clipGradNorm(parameters, training.clip_global_norm);
      optimizer.step({ gradScale: factor });
      optimizer.zeroGrad();
      const [[lossValue], [normValue], ...values] = await readTensors(
        [loss, norm, ...parameters.values()],
      );
      let squares = 0;
      for (const array of values) for (const value of array) squares += value * value;
      const at = (list: readonly number[], name: string, found: number, within: number) =>
        comparison.relative(`${name} before step ${step + 1}`, found, list[step], within);
      at(training.losses, "loss", lossValue, tolerance.curve_loss_rel);
      at(training.grad_norms, "gradient norm", normValue, tolerance.curve_grad_norm_rel);
      comparison.relative(
        `parameter norm after step ${step + 1}`,
        Math.sqrt(squares),
        training.param_norms[step],
        tolerance.final_param_norm_rel,
      );
    }
  });
  model.dispose();
  Object.values(inputs).forEach((tensor) => tensor.dispose());
  comparison.finish();
}
