/**
 * Trains a small GPT-2 on Moby Dick, or on a given text file, and generates text with it: all of training, without
 * options. `reproduce_gpt.ts` adds checkpoints, logs, shards and mixed precision.
 *
 *     deno run examples/train_gpt.ts
 *     deno run --allow-read=book.txt examples/train_gpt.ts book.txt
 *
 * @module
 */
import {
  AdamW,
  batchTensors,
  clipGradNorm,
  generate,
  GPT2,
  GPT2Tokenizer,
  loadMobyDick,
  manualSeed,
  openDevice,
  readTensors,
  Scope,
  TokenLoader,
  validationLoss,
  warmupCosine,
} from "../mod.ts";

manualSeed(1337); // the same run every time
const [path] = Deno.args;
const device = await openDevice();
const tokenizer = new GPT2Tokenizer();
const text = path === undefined ? await loadMobyDick() : await Deno.readTextFile(path);

// The last tenth is held out for validation.
const tokens = Uint16Array.from(tokenizer.encodeOrdinary(text));
const end = Math.floor(0.9 * tokens.length);
const [batchSize, contextSize] = [8, 128];
const train = await TokenLoader.open(tokens.subarray(0, end), { batchSize, contextSize });
const held = await TokenLoader.open(tokens.subarray(end), { batchSize, contextSize });

// GPT-2's vocabulary, padded to a multiple of 128.
const sizes = {
  vocabSize: 50304,
  maxPositionEmbeddings: contextSize,
  hiddenSize: 64,
  numHiddenLayers: 3,
  numAttentionHeads: 4,
};
const model = new GPT2(sizes, { device });
const optimizer = new AdamW(model.parameters(), { betas: [0.9, 0.95], weightDecay: 0.01 });
// At most ten passes over a short text.
const steps = Math.min(340, Math.ceil(10 * end / train.batchTokens));
const warmupSteps = Math.ceil(steps / 17);
const schedule = warmupCosine({ maxLr: 4e-3, minLr: 4e-4, warmupSteps, totalSteps: steps });

for (let step = 1; step <= steps; step++) {
  const batch = await train.next();
  using _scope = new Scope(); // frees the tensors of this step at its end
  const { ids, targets } = batchTensors(batch, [batchSize, contextSize], device);
  const loss = model.loss(ids, targets);
  loss.backward();
  const { norm, factor } = clipGradNorm(model.parameters(), 1);
  optimizer.step({ lr: schedule(step), gradScale: factor });
  optimizer.zeroGrad();
  if (step % 20 > 0 && step > 1 && step < steps) continue; // reading makes a GPU wait
  const [lossValue, normValue] = (await readTensors([loss, norm])).map(([x]) => x?.toFixed(4));
  console.log(`step ${step}: loss ${lossValue}, gradient norm ${normValue}`);
}
console.log(`validation loss ${(await validationLoss(model, held, 160, device)).toFixed(4)}`);
const [sample] = await generate(model, [tokenizer.encodeOrdinary("The")], {
  length: 60,
  topK: 50,
});
console.log(`The${tokenizer.decode(sample!.ids)}`);
