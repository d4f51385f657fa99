/**
 * GPT-2 against golden values.
 *
 * @module
 */
import type { Device } from "../../src/device/device.ts";
import { GPT2, type GPT2Config } from "../../src/models/gpt2.ts";
import { checkStateDict } from "../../src/nn/parameters.ts";
import { AdamW } from "../../src/optim/adamw.ts";
import { clipGradNorm } from "../../src/optim/clip_grad_norm.ts";
import { zeroGrad } from "../../src/optim/parameters.ts";
import { assign } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { Comparison, manifest, notThereYet, pick, tensorsOf, upload } from "./golden.ts";

/** A configuration in our names. */
function configOf(config: Record<string, number>): GPT2Config {
  return {
    vocabSize: config.vocab_size,
    contextSize: config.context_size,
    embedSize: config.embed_size,
    hiddenSize: config.hidden_size,
    layers: config.n_layers,
    heads: config.attn_heads,
  };
}

/** The numbers of parameters in `parameter_counts.json`, of models that are built without memory. */
export async function compareParameterCounts(): Promise<void> {
  const comparison = new Comparison("parameter_counts", "any");
  for (const { name, config, n_params } of manifest("parameter_counts").models) {
    if (config.kind !== "gpt2") {
      notThereYet(`parameter_counts ${name}`);
      continue;
    }
    await comparison.run(name, () => {
      const model = new GPT2(configOf(config), { device: weightless() });
      comparison.values(name, [model.parameterCount()], [n_params], 0);
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

/** Logits, residual stream, loss, every gradient, and the training curve of `gpt2.json`. */
export async function compareGpt2(device: Device): Promise<void> {
  const golden = manifest("gpt2");
  const { config, tolerance } = golden;
  const start = await tensorsOf("gpt2.params");
  const expected = await tensorsOf("gpt2.expect");
  const comparison = new Comparison("gpt2", device.kind);
  const model = new GPT2(configOf(config), { device });
  const parameters = model.parameters();
  checkStateDict(parameters, start, "gpt2.params.safetensors");
  for (const [name, { data }] of start) assign(parameters.get(name)!, data);
  const ids = upload(pick(expected, "input_ids"), device);
  const targets = upload(pick(expected, "targets"), device);

  await comparison.run("size", () => {
    comparison.values("n_params", [model.parameterCount()], [golden.n_params], 0.5);
  });

  await comparison.run("forward", async () => {
    using _scope = new Scope();
    const [logits, states] = noGrad(() => [model.logits(ids), model.hiddenStates(ids)]);
    const hidden = states.map((found, i) => {
      const name = i === 0 ? "hidden.embed" : `hidden.${i - 1}`;
      return { name, found, expected: pick(expected, name), tolerance: tolerance.hidden_abs };
    });
    await comparison.tensors([
      {
        name: "logits",
        found: logits,
        expected: pick(expected, "logits"),
        tolerance: tolerance.logits_abs,
      },
      ...hidden,
    ]);
  });

  await comparison.run("backward", async () => {
    using _scope = new Scope();
    const loss = model.loss(ids, targets);
    loss.backward();
    comparison.relative("loss", await loss.item(), golden.loss, tolerance.loss_rel);
    await comparison.tensors([...parameters].map(([name, { grad }]) => {
      const wanted = pick(expected, `grad.${name}`);
      let largest = 0;
      for (const value of wanted.data) largest = Math.max(largest, Math.abs(value));
      if (!grad) throw new Error(`"${name}" has no gradient`);
      return {
        name: `grad.${name}`,
        found: grad,
        expected: wanted,
        tolerance: Math.max(2e-6, 1e-4 * largest),
      };
    }));
    const { norm } = clipGradNorm(parameters, Infinity);
    comparison.relative("grad_norm", await norm.item(), golden.grad_norm, tolerance.grad_norm_rel);
    zeroGrad(parameters);
  });

  await comparison.run("training curve", async () => {
    const { training } = golden;
    const { lr, betas, eps, weight_decay: weightDecay } = training;
    using optimizer = new AdamW(parameters, { lr, betas, eps, weightDecay });
    for (let step = 0; step < training.steps; step++) {
      using _scope = new Scope();
      const loss = model.loss(ids, targets);
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
  [ids, targets].forEach((tensor) => tensor.dispose());
  comparison.finish();
}
