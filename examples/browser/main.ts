/**
 * A page that trains a small GPT-2 in the browser, on WebGPU or else on the CPU. It shows the loss curve, texts that
 * the model writes, and attention maps. `serve.ts` builds and serves it.
 *
 * @module
 */
/// <reference lib="dom" />
import {
  AdamW,
  attentionPicture,
  batchTensors,
  BytePairTokenizer,
  clipGradNorm,
  curvesSvg,
  type Device,
  generateText,
  GPT2,
  loadMobyDick,
  openDevice,
  readSelfAttention,
  Scope,
  TokenLoader,
  validationLoss,
  warmupCosine,
} from "../../mod.ts";

const BATCH = [8, 64] as const;
const STEPS = 1000;
/** Steps between drawings of the loss curve; every fifth one comes with a validation. */
const REPORT = 10;

const element = <T extends HTMLElement>(selector: string) => document.querySelector<T>(selector)!;
const trainButton = element<HTMLButtonElement>("#train");
const writeButton = element<HTMLButtonElement>("#write button");
const status = element("#status");

/** A model, its text, and its progress. */
class Training {
  steps: number[] = [];
  losses: number[] = [];
  heldSteps: number[] = [];
  heldLosses: number[] = [];

  private constructor(
    readonly device: Device,
    readonly tokenizer: BytePairTokenizer,
    readonly model: GPT2,
    readonly optimizer: AdamW,
    readonly train: TokenLoader,
    readonly held: TokenLoader,
  ) {}

  /** Creates a model for a text, whose last tenth is held out for validation. */
  static async open(text: string, device: Device): Promise<Training> {
    const [batchSize, contextSize] = BATCH;
    const tokenizer = BytePairTokenizer.train(text, { merges: 768 });
    const tokens = Uint16Array.from(tokenizer.encodeOrdinary(text));
    const end = Math.floor(0.9 * tokens.length);
    const loader = (part: Uint16Array) => TokenLoader.open(part, { batchSize, contextSize });
    const sizes = {
      vocabSize: tokenizer.vocabSize,
      maxPositionEmbeddings: contextSize,
      hiddenSize: 64,
      numHiddenLayers: 3,
      numAttentionHeads: 4,
    };
    const model = new GPT2(sizes, { device });
    const optimizer = new AdamW(model.parameters(), { betas: [0.9, 0.95], weightDecay: 0.1 });
    const [train, held] = [
      await loader(tokens.subarray(0, end)),
      await loader(tokens.subarray(end)),
    ];
    return new Training(device, tokenizer, model, optimizer, train, held);
  }

  /** The number of parameters. */
  get parameters(): number {
    return [...this.model.parameters().values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** Trains one step. Returns its loss. */
  async step(): Promise<number> {
    const step = this.steps.length + 1;
    const schedule = warmupCosine({ maxLr: 4e-3, minLr: 4e-4, warmupSteps: 50, totalSteps: STEPS });
    const batch = await this.train.next();
    using _scope = new Scope();
    const { ids, targets } = batchTensors(batch, BATCH, this.device);
    const loss = this.model.loss(ids, targets);
    loss.backward();
    const { factor } = clipGradNorm(this.model.parameters(), 1);
    this.optimizer.step({ lr: schedule(step), gradScale: factor });
    this.optimizer.zeroGrad();
    const value = await loss.item();
    this.steps.push(step);
    this.losses.push(value);
    return value;
  }

  async validate(): Promise<void> {
    this.heldSteps.push(this.steps.length);
    const rows = 4 * this.held.batchSize;
    this.heldLosses.push(await validationLoss(this.model, this.held, rows, this.device));
  }

  [Symbol.dispose](): void {
    this.optimizer.dispose();
    this.model.dispose();
  }
}

// Uses of the device take turns: in a browser the scopes of concurrent functions must not overlap.
let turns: Promise<unknown> = Promise.resolve();
function inTurn<T>(body: () => Promise<T>): Promise<T> {
  const result = turns.then(body);
  turns = result.catch(show);
  return result;
}

function show(error: unknown): void {
  console.error(error);
  status.textContent = String(error);
}

const asked = new URLSearchParams(location.search).get("device");
const device = await openDevice({ kind: asked as "cpu" | "webgpu" ?? undefined });
element("#device").textContent = device.description;
let training: Training;
let running = false;
await start(await loadMobyDick(), "Moby Dick");

/** Drops the model and begins with another text. */
async function start(text: string, name: string): Promise<void> {
  running = false;
  await inTurn(async () => {
    status.textContent = "tokenizing …";
    const next = await Training.open(text, device);
    training?.[Symbol.dispose]();
    training = next;
    await training.validate();
    element("#source").textContent = name;
    status.textContent = `${training.parameters.toLocaleString("en")} parameters, untrained`;
  });
  trainButton.disabled = writeButton.disabled = false;
  trainButton.textContent = "Train";
}

trainButton.onclick = async () => {
  running = !running;
  trainButton.textContent = running ? "Stop" : "Resume";
  while (running && training.steps.length < STEPS) {
    await inTurn(trainStep);
    // Yields to the event loop, so that the page can draw and react to clicks.
    await new Promise((resolve) => setTimeout(resolve));
  }
};

async function trainStep(): Promise<void> {
  const began = performance.now();
  const loss = await training.step();
  const rate = BATCH[0] * BATCH[1] / (performance.now() - began) * 1000;
  const step = training.steps.length;
  status.textContent = `step ${step}/${STEPS} | loss ${loss.toFixed(4)} | ${
    Math.round(rate).toLocaleString("en")
  } tokens/s`;
  if (step % REPORT > 0) return;
  if (step % (5 * REPORT) === 0) await training.validate();
  const { steps, losses, heldSteps, heldLosses } = training;
  element("#curve").innerHTML = await curvesSvg({
    panels: [{
      yLabel: "loss",
      series: [
        { name: "train", steps, values: losses },
        { name: "validation", steps: heldSteps, values: heldLosses, kind: "validation" },
      ],
    }],
  });
}

element<HTMLFormElement>("#write").onsubmit = (event) => {
  event.preventDefault();
  inTurn(() => write(element<HTMLInputElement>("#prompt").value));
};

/** Continues a prompt, and draws the attention while the model reads the result. */
async function write(prompt: string): Promise<void> {
  const { model, tokenizer } = training;
  const field = element("#text");
  const opening = document.createElement("b");
  opening.textContent = prompt;
  field.replaceChildren(opening);
  let text = prompt;
  for await (
    const piece of generateText(model, tokenizer, prompt, {
      length: 100,
      topK: 50,
      overflow: "slide",
    })
  ) {
    field.append(piece);
    text += piece;
  }
  const ids = tokenizer.encodeOrdinary(text).slice(0, 24);
  const layers = await readSelfAttention(model, tokenizer, ids);
  element("#attention").innerHTML = await attentionPicture(layers, {
    title: `Attention after ${training.steps.length} steps`,
  });
}

/** Trains on a file from now on. */
async function take(file: File | undefined): Promise<void> {
  if (file) await start(await file.text(), file.name).catch(show);
}

element<HTMLInputElement>("#file").onchange = ({ target }) =>
  take((target as HTMLInputElement).files?.[0]);
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
};
document.ondragleave = () => document.body.classList.remove("dropping");
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  take(event.dataTransfer?.files[0]);
};
