/**
 * Data-parallel training: what a step computes, what it exchanges and how much of that the backward pass hides.
 *
 *     mpirun -n 2 deno run -A bench/scaling.ts                        # 7.5 M parameters, 8 x 256 tokens on each rank
 *     mpirun -n 2 deno run -A bench/scaling.ts --size 124m --batch 1 --context 512
 *     deno run -A bench/scaling.ts --model                            # the table of docs/SCALING.md
 *
 * Without mpirun it is the step of one process, with all cores or `--threads`.
 */
import { cpuUsage } from "node:process";
import { parseArgs } from "node:util";
import {
  AdamW,
  clipGradNorm,
  type Communicator,
  CpuDevice,
  formatTable,
  GPT2,
  GradientExchange,
  openCommunicator,
  RandomState,
  readTensors,
  Scope,
  tensor,
} from "../mod.ts";

const SIZES = {
  "7m": { vocabSize: 50304, hiddenSize: 128, numHiddenLayers: 4, numAttentionHeads: 4 },
  "124m": { vocabSize: 50304, hiddenSize: 768, numHiddenLayers: 12, numAttentionHeads: 12 },
};

const { values: options } = parseArgs({
  options: {
    size: { type: "string", default: "7m" },
    batch: { type: "string", default: "8" },
    context: { type: "string", default: "256" },
    steps: { type: "string", default: "2" },
    threads: { type: "string" },
    wire: { type: "string" },
    model: { type: "boolean", default: false },
  },
});

/** Steps with and without the exchange by turns, and the exchange alone. */
async function measure(communicator: Communicator): Promise<void> {
  const { rank, size } = communicator;
  const [batch, context, steps] = [options.batch, options.context, options.steps].map(Number);
  const threads = Number(options.threads ?? (size > 1 ? 1 : navigator.hardwareConcurrency));
  using device = CpuDevice.open({ threads });
  const config = { ...SIZES[options.size as keyof typeof SIZES], maxPositionEmbeddings: context };
  const model = new GPT2(config, { device, random: new RandomState(1) });
  const parameters = model.parameters();
  using optimizer = new AdamW(parameters, { lr: 1e-4 });
  const wire = options.wire as "f32" | "f16" | undefined;
  using exchange = new GradientExchange(communicator, parameters, { wire });
  const ids = Int32Array.from({ length: batch * context }, (_, i) => (i * 7919 + rank) % 50257);

  const step = async (exchanges: boolean): Promise<number> => {
    const begun = performance.now();
    using _scope = new Scope();
    const tokens = tensor(ids, { shape: [batch, context], device });
    const loss = model.loss(tokens, tokens);
    if (exchanges) exchange.begin();
    loss.backward(1 / size);
    if (exchanges) await exchange.finish();
    const { norm, factor } = clipGradNorm(parameters, 1);
    await readTensors([norm, loss]);
    optimizer.step({ gradScale: factor });
    optimizer.zeroGrad();
    return performance.now() - begun;
  };

  for (const exchanges of [false, true, true]) await step(exchanges);
  let [alone, together, apart, cpu, waited, busy, bytes] = [0, 0, 0, 0, 0, 0, 0];
  const gradients = [...parameters.values()].reduce((sum, one) => sum + one.bytes, 0);
  const values = new Float32Array(new SharedArrayBuffer(gradients));
  for (let i = 0; i < steps; i++) {
    await communicator.barrier();
    alone += await step(false) / steps;
    await communicator.barrier();
    const before = { cpu: cpuUsage(), waited: exchange.waited };
    const { busy: busyBefore, bytes: bytesBefore } = communicator;
    together += await step(true) / steps;
    const { user, system } = cpuUsage(before.cpu);
    cpu += (user + system) / 1000 / steps;
    busy += (communicator.busy - busyBefore) / steps;
    bytes += (communicator.bytes - bytesBefore) / steps;
    // The slowest rank waits for the exchange only, the others also for that rank.
    const waits = await communicator.gather(Float64Array.of(exchange.waited - before.waited));
    waited += Math.min(...waits) / steps;
  }
  for (let i = 0; i < steps; i++) {
    await communicator.barrier();
    const begun = performance.now();
    await communicator.allReduce(values, { wire });
    apart += (performance.now() - begun) / steps;
  }
  alone = Math.max(...await communicator.gather(Float64Array.of(alone)));
  cpu = (await communicator.gather(Float64Array.of(cpu))).reduce((sum, one) => sum + one, 0);
  if (rank > 0) return;
  const work: Work = {
    ...{ name: "", compute: alone / 1000, bytes: gradients, apartBytes: gradients },
    ...{ hides: BACKWARD, transfer: 0, lastRows: batch * context, width: config.hiddenSize },
  };
  const bytesPerSecond = 2 * (size - 1) / size * gradients / (apart / 1000);
  const predicted = alone / efficiency(work, size, bytesPerSecond);
  const ms = (x: number) => `${x.toFixed(0)} ms`;
  const mib = (x: number) => `${(x / 2 ** 20).toFixed(1)} MiB`;
  const tokens = size * batch * context;
  const rows = {
    "ranks x threads": `${size} x ${threads}`,
    "parameters": model.parameterCount().toLocaleString("en"),
    "tokens of a step": `${size} x ${batch} x ${context}`,
    "tokens/s": Math.round(tokens / together * 1000).toLocaleString("en"),
    "a step": ms(together),
    "of which processor time, all ranks": ms(cpu),
  };
  if (size > 1) {
    Object.assign(rows, {
      "a step without exchange, slowest rank": ms(alone),
      "a step as the model predicts it": ms(predicted),
      "gradients": mib(gradients),
      "exchanged in a step": mib(bytes),
      "exchange of the gradients by itself": ms(apart),
      "in a step, waited for by the slowest rank": ms(waited),
      "of the exchange by itself, hidden": `${(100 * (1 - waited / apart)).toFixed(0)} %`,
      "in a step, the thread at work": ms(busy),
    });
  }
  for (const [name, value] of Object.entries(rows)) console.log(`${name.padEnd(44)}${value}`);
}

/** What a step of a node is taken to be. */
interface Work {
  readonly name: string;
  /** Seconds that a step computes. */
  readonly compute: number;
  /** Bytes of the gradients as they are sent, and of DiLoCo's differences. */
  readonly bytes: number;
  readonly apartBytes: number;
  /** Part of the step behind which gradients are sent: the backward pass on the CPU, nothing on a GPU. */
  readonly hides: number;
  /** Tokens of a rank's last micro-batch, whose rows of the embedding are sent last. */
  readonly lastRows: number;
  /** The length of a row. */
  readonly width: number;
  /** Seconds to read gradients from a GPU and write them back. */
  readonly transfer: number;
}

/** Seconds that a message takes beside its bytes. */
const LATENCY = 30e-6;
/** Part of a step that is the backward pass. */
const BACKWARD = 2 / 3;
/** Rows of the embedding, which is the output matrix at the same time. */
const VOCABULARY = 50304;
/** Pieces in which the others are sent. */
const PIECES = 36;

/** Seconds of an all-reduce in a ring over a network of so many bytes a second. */
function ringSeconds(bytes: number, nodes: number, bytesPerSecond: number, pieces: number): number {
  const rounds = 2 * (nodes - 1);
  return rounds / nodes * bytes / bytesPerSecond + rounds * LATENCY * pieces;
}

/** Part of its time that a node computes; with `every`, in DiLoCo's rounds of so many steps. */
function efficiency(work: Work, nodes: number, bytesPerSecond: number, every = 0): number {
  const { compute, bytes, apartBytes, hides, transfer, lastRows, width } = work;
  if (every > 0) {
    const round = transfer + ringSeconds(apartBytes, nodes, bytesPerSecond, 1);
    return compute / (compute + round / every);
  }
  // The embedding's last rows are gathered from all ranks, if those are fewer than its own, or else all of it is last.
  const rowBytes = 4 * width, table = bytes * VOCABULARY * rowBytes / apartBytes;
  const isSplit = hides > 0 && nodes * lastRows <= VOCABULARY;
  const first = ringSeconds(isSplit ? bytes : bytes - table, nodes, bytesPerSecond, PIECES);
  const last = isSplit
    ? (nodes - 1) * (lastRows * rowBytes / bytesPerSecond + LATENCY)
    : ringSeconds(table, nodes, bytesPerSecond, 1);
  return compute / (compute + transfer + Math.max(0, first - hides * compute) + last);
}

function printModel(): void {
  const f32 = 124.4e6 * 4;
  const rows = { lastRows: 512, width: 768 };
  const cpu = { bytes: f32, apartBytes: f32, hides: BACKWARD, transfer: 0, ...rows };
  const works: Work[] = [
    { name: "CPU, 3 s a step (512 tokens on two cores)", compute: 3, ...cpu },
    { name: "CPU, 60 s a step (20 times as many tokens)", compute: 60, ...cpu },
    {
      name: "GPU, 3.6 s a step (65,536 tokens at 17,980 a second, f16)",
      ...{ compute: 65536 / 17_980, bytes: f32 / 2, apartBytes: f32, hides: 0, ...rows },
      transfer: 0.012 + f32 / 4e9,
    },
  ];
  for (const work of works) {
    const gigabits = [1, 10, 100];
    const rows = [8, 64, 512].flatMap((nodes) =>
      [0, 100].map((every) => {
        const cells = gigabits.map((rate) => efficiency(work, nodes, rate * 1.25e8, every));
        const texts = cells.map((part) => `${(100 * part).toFixed(0)} %`);
        return {
          nodes,
          exchange: every ? `DiLoCo, H = ${every}` : "every step",
          ...Object.fromEntries(gigabits.map((rate, i) => [`${rate} Gbit/s`, texts[i]])),
        };
      })
    );
    const columns = ["nodes", "exchange", ...gigabits.map((rate) => `${rate} Gbit/s`)];
    console.log(`${work.name}\n${formatTable(rows, columns.map((key) => ({ key })))}\n`);
  }
}

if (options.model) printModel();
else {
  await using communicator = await openCommunicator();
  await measure(communicator);
}
