// What a training step of GPT-2 124M, 8 x 1024, asks of a GPU, counted on a stub.
import assert from "node:assert/strict";
import { AdamW, clipGradNorm, GPT2, RandomState, Scope, tensor, WebGpuDevice } from "../../mod.ts";
import { StubGpu } from "../support/stub_gpu.ts";

/** Bounds that a change may lower. A launch costs some 10 us on a GPU; copies end a pass. 52 launches add up split-K products. */
const MOST = { launches: 341, copies: 2, gigabytes: 43 };

async function countedStep(vocabSize: number, limits = {}, microSteps = 1): Promise<StubGpu> {
  const stub = new StubGpu(limits);
  using device = await WebGpuDevice.open({ gpu: stub.gpu });
  const sizes = { maxPositionEmbeddings: 1024, hiddenSize: 768 };
  const model = new GPT2(
    { vocabSize, ...sizes, numHiddenLayers: 12, numAttentionHeads: 12 },
    { device, random: new RandomState(1) },
  );
  using optimizer = new AdamW(model.parameters(), { betas: [0.9, 0.95], weightDecay: 0.1 });
  await device.synchronize();
  stub.reset();
  using _scope = new Scope();
  for (let micro = 0; micro < microSteps; micro++) {
    const ids = tensor(new Int32Array(8192), { shape: [8, 1024], device });
    model.loss(ids, ids).backward(1 / microSteps);
  }
  const { factor } = clipGradNorm(model.parameters(), 1);
  optimizer.step({ gradScale: factor });
  optimizer.zeroGrad();
  await device.synchronize();
  return stub;
}

function listed({ counts }: StubGpu): string {
  const sorted = [...counts.launches].sort((a, b) => b[1] - a[1]);
  return sorted.map(([kernel, count]) => `${count} ${kernel}`).join(", ");
}

Deno.test("a step of GPT-2 124M takes few launches and binds few bytes", async () => {
  const stub = await countedStep(50_304);
  const gigabytes = stub.counts.boundBytes / 1e9;
  assert.ok(stub.launches <= MOST.launches, `${stub.launches} launches: ${listed(stub)}`);
  assert.ok(stub.counts.copies <= MOST.copies, `${stub.counts.copies} copies`);
  assert.ok(gigabytes <= MOST.gigabytes, `${gigabytes} GB bound`);
  // A stub that counted nothing would pass.
  assert.equal(stub.counts.launches.get("attention_forward"), 12);
  assert.ok(gigabytes > 20);
});

Deno.test("a vocabulary that is no multiple of four costs only the launches that pad it", async () => {
  const stub = await countedStep(50_257);
  assert.ok(stub.launches <= MOST.launches + 3, `${stub.launches} launches: ${listed(stub)}`);
});

Deno.test("a second micro-batch adds its gradients without launches of its own", async () => {
  const [once, twice] = [await countedStep(50_304), await countedStep(50_304, {}, 2)];
  const optimizer = ["adamw", "adamw_correction", "sum_of_squares", "clip_factor"]
    .reduce((sum, kernel) => sum + once.counts.launches.get(kernel)!, 0);
  // One is of positions, whose rows are taken by a slice.
  assert.ok(twice.launches <= 2 * once.launches - optimizer + 1, listed(twice));
});

Deno.test("a device that binds 128 MiB takes a few launches more", async () => {
  const limits = { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28 };
  const stub = await countedStep(50_304, limits);
  assert.ok(stub.launches <= 447, `${stub.launches} launches: ${listed(stub)}`);
});
