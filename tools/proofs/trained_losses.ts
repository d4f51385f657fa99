/** The losses of a short training run, to compare devices by. */
import type { Device } from "../../src/device/device.ts";
import { GPT2, type GPT2Config } from "../../src/models/gpt2.ts";
import { AdamW } from "../../src/optim/adamw.ts";
import { clipGradNorm } from "../../src/optim/clip_grad_norm.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { batchTensors } from "../../src/train/evaluate.ts";

/** What to train, on one batch that is repeated. */
export interface TrainedLossesOptions {
  config: GPT2Config;
  batchSize: number;
  steps: number;
}

/** The loss before each of `steps` steps of AdamW, from the same weights on every device. */
export async function trainedLosses(
  device: Device,
  { config, batchSize, steps }: TrainedLossesOptions,
): Promise<number[]> {
  const model = new GPT2(config, { device, random: new RandomState(4) });
  using optimizer = new AdamW(model.parameters(), { lr: 1e-3, betas: [0.9, 0.95] });
  const length = batchSize * config.maxPositionEmbeddings;
  const ids = Int32Array.from({ length: length + 1 }, (_, i) => (i * 7919 + 13) % config.vocabSize);
  const batch = { inputs: ids.slice(0, -1), targets: ids.slice(1) };
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    using _scope = new Scope();
    const { ids, targets } = batchTensors(batch, [batchSize, config.maxPositionEmbeddings], device);
    const loss = model.loss(ids, targets);
    loss.backward();
    optimizer.step({ gradScale: clipGradNorm(model.parameters(), 1).factor });
    optimizer.zeroGrad();
    losses.push(await loss.item());
  }
  model.dispose();
  return losses;
}
