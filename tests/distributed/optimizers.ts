// What optimizers_test.ts runs on every rank: sums during a backward pass, ZeRO and DiLoCo, held to what one process computes.
import assert from "node:assert/strict";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import type { Communicator } from "../../src/distributed/communicator.ts";
import { DiLoCo } from "../../src/distributed/diloco.ts";
import { GradientExchange } from "../../src/distributed/gradient_exchange.ts";
import { openCommunicator } from "../../src/distributed/mpi.ts";
import { ParameterShards } from "../../src/distributed/parameter_shards.ts";
import { add, embedding, matmul, mul, sum } from "../../src/ops/mod.ts";
import { AdamW } from "../../src/optim/adamw.ts";
import { zeroGrad } from "../../src/optim/parameters.ts";
import { tensor } from "../../src/tensor/create.ts";
import { scoped } from "../../src/tensor/scope.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";

await using communicator: Communicator = await openCommunicator();
const { rank, size } = communicator;
using device = CpuDevice.open({ threads: 1 });
const meanOfRanks = (size + 1) / 2;

/** Parameters whose gradient is `factor` times themselves; `tied` is used twice, at both ends of the graph. */
function newParameters(): Map<string, Tensor> {
  const make = (length: number) => {
    const one = tensor(Float32Array.from({ length }, (_, i) => (i % 7 - 3) / 4), { device });
    one.requiresGrad = true;
    return one;
  };
  return new Map([["tied", make(96)], ["a", make(64)], ["b", make(33)], ["c", make(5)]]);
}

function backward(parameters: Map<string, Tensor>, factor: number): void {
  scoped(() => {
    let total = mul(sum(parameters.get("tied")!), 0);
    for (const one of parameters.values()) total = add(total, sum(mul(mul(one, one), factor / 2)));
    add(total, mul(sum(parameters.get("tied")!), 0)).backward();
  });
}

async function valuesOf(parameters: Map<string, Tensor>): Promise<number[]> {
  return (await Promise.all([...parameters.values()].map((one) => one.data()))).flatMap((
    x,
  ) => [...x]);
}

function assertClose(a: readonly number[], b: readonly number[], what: string): void {
  assert.equal(a.length, b.length);
  a.forEach((value, i) =>
    assert.ok(Math.abs(value - b[i]) < 1e-6, `${what} ${i}: ${value}, ${b[i]}`)
  );
}

/** The same with the mean of all ranks' gradients, in one process. */
const wanted = newParameters();
{
  using optimizer = new AdamW(wanted, { lr: 0.1 });
  for (let step = 0; step < 4; step++) {
    backward(wanted, meanOfRanks);
    optimizer.step();
    optimizer.zeroGrad();
  }
}

for (const bucketBytes of [1, 300, 2 ** 20]) {
  const parameters = newParameters();
  using exchange = new GradientExchange(communicator, parameters, { bucketBytes });
  using optimizer = new AdamW(parameters, { lr: 0.1 });
  for (let step = 0; step < 4; step++) {
    // Two micro-batches, of which only the last is sent.
    backward(parameters, (rank + 1) / size / 4);
    exchange.begin();
    backward(parameters, (rank + 1) / size * 3 / 4);
    await exchange.finish();
    optimizer.step();
    optimizer.zeroGrad();
  }
  assertClose(await valuesOf(parameters), await valuesOf(wanted), `buckets of ${bucketBytes}`);
  // A graph that uses a parameter more often than the one before.
  exchange.begin();
  const more = () =>
    scoped(() => add(sum(parameters.get("a")!), sum(parameters.get("a")!)).backward());
  more();
  assert.throws(more, /expected 2 gradients for "a".* but got 3/);
}

// A table that is the output matrix, too: the output's part is sent before the backward pass has ended, and the rows of
// all ranks, of which each has another number, are added to its sum.
for (const vocabulary of [40, 7]) {
  const most = 3 + Math.min(2, size - 1);
  const isSplit = most * size <= vocabulary;
  const width = 3;
  const newTable = () => {
    const values = Float32Array.from({ length: vocabulary * width }, (_, i) => (i % 11 - 5) / 8);
    const table = tensor(values, { device, shape: [vocabulary, width] });
    table.requiresGrad = true;
    return table;
  };
  const idsOf = (rank: number, batch: number) =>
    Array.from(
      { length: 3 + Math.min(2, rank) },
      (_, i) => (5 * rank + batch + i * i) % vocabulary,
    );
  const addGrad = (table: Tensor, rank: number, batch: number) =>
    scoped(() => {
      const hidden = embedding(table, tensor(idsOf(rank, batch), { device, dtype: "i32" }));
      const logits = matmul(mul(hidden, hidden), table, { transposeB: true });
      sum(mul(logits, logits)).backward();
    });
  const whole = newTable();
  for (const other of [...Array(size).keys()]) {
    for (const batch of [0, 1]) addGrad(whole, other, batch);
  }
  const expected = [...await whole.grad!.data()];
  const table = newTable();
  using exchange = new GradientExchange(communicator, { table }, { bucketBytes: 1 });
  for (let step = 0; step < 3; step++) {
    addGrad(table, rank, 0);
    exchange.begin();
    const { bytes } = communicator;
    addGrad(table, rank, 1);
    if (step > 0) assert.equal(communicator.bytes - bytes, table.bytes);
    await exchange.finish();
    const rows = 8 + most * (4 + 4 * width); // their number, ids and values
    if (step > 0) assert.equal(communicator.bytes - bytes, table.bytes + (isSplit ? rows : 0));
    assertClose([...await table.grad!.data()], expected, `a tied table of ${vocabulary}`);
    zeroGrad({ table });
  }
}

// ZeRO: the same steps, and the state in parts that are the whole.
{
  const parameters = newParameters();
  const shards = new ParameterShards(communicator, parameters);
  using exchange = new GradientExchange(communicator, parameters, { joined: false });
  using optimizer = new AdamW(shards.own, { lr: 0.1 });
  using whole = new AdamW(newParameters(), { lr: 0.1 });
  const step = async (optimizer: AdamW) => {
    exchange.begin();
    backward(parameters, (rank + 1) / size);
    await exchange.finish();
    optimizer.step();
    await shards.spread();
    zeroGrad(parameters);
  };
  for (let i = 0; i < 3; i++) await step(optimizer);

  const bytes = Float64Array.of(bytesOf(optimizer));
  const most = Math.max(...await communicator.gather(bytes));
  console.log(`rank ${rank}: ${bytes[0]} of ${bytesOf(whole)} bytes`);
  // A part each, but no part is smaller than the largest parameter's moments.
  assert.ok(
    most <= Math.max(bytesOf(whole) / size * 1.1, 8 * 96 + 4),
    `${most} of ${bytesOf(whole)} bytes`,
  );

  const saved = await shards.state(optimizer);
  const stored = new Map<string, { shape: readonly number[]; data: ArrayBufferView }>();
  for (const [name, one] of saved) stored.set(name, { shape: one.shape, data: await one.data() });
  if (rank === 0) assert.deepEqual([...stored.keys()].sort(), [...whole.state().keys()].sort());
  else assert.equal(stored.size, 0);
  using resumed = new AdamW(shards.own, { lr: 0.1 });
  await shards.restore(resumed, stored);
  await step(resumed);
  assertClose(await valuesOf(parameters), await valuesOf(wanted), "ZeRO");
}

// DiLoCo: SGD by hand on each rank, then Nesterov as PyTorch has it on the mean of the ways.
{
  const parameters = newParameters();
  using outer = new DiLoCo(communicator, parameters, { every: 2, lr: 0.7, momentum: 0.9 });
  using inner = new AdamW(parameters, { lr: 0.1 });
  const alone = Array.from({ length: size }, () => newParameters());
  const inners = alone.map((one) => new AdamW(one, { lr: 0.1 }));
  let begin = await valuesOf(parameters);
  let velocity = begin.map(() => 0);
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 2; i++) {
      backward(parameters, rank + 1);
      inner.step();
      inner.zeroGrad();
      await outer.step();
      alone.forEach((one, other) => {
        backward(one, other + 1);
        inners[other].step();
        inners[other].zeroGrad();
      });
    }
    const ends = await Promise.all(alone.map(valuesOf));
    const way = begin.map((x, i) => x - ends.reduce((sum, end) => sum + end[i], 0) / size);
    velocity = velocity.map((v, i) => 0.9 * v + way[i]);
    begin = begin.map((x, i) => x - 0.7 * (way[i] + 0.9 * velocity[i]));
    assertClose(await valuesOf(parameters), begin, `DiLoCo, round ${round}`);
    for (const one of alone) {
      let at = 0;
      for (const each of one.values()) {
        const part = begin.slice(at, at += each.size);
        device.write(each.buffer, Float32Array.from(part), 4 * each.offset);
      }
    }
  }
  inners.forEach((one) => one.dispose());
}

function bytesOf(optimizer: AdamW): number {
  return [...optimizer.state().values()].reduce((sum, { bytes }) => sum + bytes, 0);
}
