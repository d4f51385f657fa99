/**
 * Proof: a run of `reproduce_gpt.ts` that is killed with SIGKILL thirty times, at random moments and in the middle of writing
 * checkpoints, ends as an undisturbed one: the same weights, moments and place in the data, bit for bit, the same losses,
 * and one curve in TensorBoard. `deno task proof:survive [seed]`; about three minutes. Prints a table of the kills and
 * exits with 1 where something differs.
 */
import { BinaryReader } from "npm:@bufbuild/protobuf@2.17.0/wire";
import assert from "node:assert/strict";
import { join } from "node:path";
import { formatTable, loadNewestCheckpoint, openProgress } from "../../mod.ts";

const KILLS = 30, STEPS = 1200;
const EXAMPLE = new URL("../../examples/reproduce_gpt.ts", import.meta.url).pathname;
// A step takes some milliseconds, a checkpoint has ten megabytes, and every seventh step writes one.
const ARGS = [
  ...["--device", "cpu", "--steps", String(STEPS), "--every", "7", "--keep", "2"],
  ...["--layers", "1", "--embed", "16", "--heads", "2", "--context", "16", "--batch", "2"],
  ...["--total-batch", "64", "--warmup", "20", "--val-tokens", "32", "--dropout", "0.1"],
  ...["--samples", "0", "--shuffle", "--spike", "6"],
];

const seed = Number(Deno.args[0] ?? Math.floor(Math.random() * 2 ** 32));
console.log(`seed ${seed}`);
const random = mulberry32(seed);
const folder = await Deno.makeTempDir({ prefix: "dinograd-survive" });
try {
  const undisturbed = await live(["--out", "undisturbed"]);
  assert.ok(undisturbed.ended, undisturbed.text);
  console.log(`undisturbed: ${STEPS} steps in ${(undisturbed.ms / 1000).toFixed(1)} s`);
  const rows = await killedRun();
  console.log(formatTable(rows, [
    { key: "kill" },
    { key: "when" },
    { key: "ms", title: "after ms" },
    { key: "last", title: "last step logged" },
    { key: "resumed", title: "went on after step" },
  ]));
  await compare();
} finally {
  await Deno.remove(folder, { recursive: true });
}

/** Kills the run `KILLS` times, and lets it end. */
async function killedRun(): Promise<
  { kill: number; when: string; [key: string]: string | number }[]
> {
  using progress = await openProgress({ label: "killed", total: KILLS, unit: "kills" });
  const rows = [];
  for (let kill = 1; kill <= KILLS; kill++) {
    const inWrite = kill % 2 === 0;
    const { text, ended, ms } = await live(goOn(), inWrite ? "write" : 300 + 1500 * random());
    assert.ok(!ended, `the run ended before kill ${kill}: give it more steps`);
    const temporary = files().some((name) => name.endsWith(".tmp"));
    rows.push({
      kill,
      when: inWrite
        ? (temporary ? "checkpoint half written" : "as a checkpoint was written")
        : "any",
      ms: Math.round(ms),
      // "-" where it was killed before it had said anything
      last: [...text.matchAll(/step +(\d+)\//g)].at(-1)?.[1] ?? "-",
      resumed: /resuming after step (\d+)/.exec(text)?.[1] ??
        (text.includes("writing to") ? "0" : "-"),
    });
    if (files().some((name) => /^step_\d+\.safetensors$/.test(name))) {
      assert.ok(await loadNewestCheckpoint(join(folder, "killed"), { onRefused: fail }));
    }
    progress.update(kill);
  }
  const last = await live(goOn());
  assert.ok(last.ended, last.text);
  return rows;
}

function fail(error: Error): never {
  throw error; // a checkpoint that has its name is whole
}

function files(): string[] {
  try {
    return [...Deno.readDirSync(join(folder, "killed"))].map(({ name }) => name);
  } catch {
    return [];
  }
}

/** How the run goes on: from its newest checkpoint, or from the beginning where there is none yet. */
function goOn(): string[] {
  const isSaved = files().some((name) => /^step_\d+\.safetensors$/.test(name));
  return isSaved ? ["--resume", "killed"] : ["--out", "killed"];
}

/** Runs until the end, or is killed: after some milliseconds, or while it writes a checkpoint. */
async function live(args: string[], until?: number | "write") {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", EXAMPLE, ...args, ...ARGS],
    cwd: folder,
    env: { NO_COLOR: "1", DINOGRAD_BLAS: "off" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const started = performance.now();
  let [isOver, killedAfter] = [false, 0];
  const kill = () => {
    killedAfter = performance.now() - started;
    try {
      child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // it has ended
    }
  };
  const killing = (async () => {
    if (until === undefined) return;
    if (until === "write") {
      const skip = 1 + Math.floor(6 * random()); // not always the first one of a life
      let seen = 0, was = true; // what a killed life left does not count
      const delay = 8 * random();
      while (!isOver && seen < skip) {
        const is = files().some((name) => name.endsWith(".tmp"));
        if (is && !was) seen++;
        was = is;
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
      await new Promise((resolve) => setTimeout(resolve, delay));
    } else {
      await new Promise((resolve) => setTimeout(resolve, until));
    }
    if (!isOver) kill();
  })();
  const { success, stdout, stderr } = await child.output();
  isOver = true;
  await killing;
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  const text = decode(stdout) + decode(stderr);
  const ms = killedAfter || performance.now() - started;
  if (!success && until === undefined) throw new Error(text);
  return { text, ended: success, ms };
}

async function compare(): Promise<void> {
  const [a, b] = await Promise.all(
    ["undisturbed", "killed"].map(async (name) =>
      (await loadNewestCheckpoint(join(folder, name)))!
    ),
  );
  assert.equal(a.step, STEPS);
  assert.equal(b.step, STEPS);
  type State = {
    loader: { position: number };
    random: unknown;
    extra: { curves: unknown; guard: unknown };
  };
  const [stateA, stateB] = [a.state, b.state] as unknown as State[];
  assert.equal(stateA.loader.position, STEPS * 64);
  assert.deepEqual(stateB.loader, stateA.loader);
  assert.deepEqual(stateB.random, stateA.random);
  assert.deepEqual(stateB.extra.guard, stateA.extra.guard);
  assert.deepEqual(stateB.extra.curves, stateA.extra.curves);
  console.log(`place in the data after ${STEPS} steps: ${stateA.loader.position} tokens in both`);
  console.log(`losses of ${STEPS} steps: the same to the last bit`);
  assert.deepEqual([...b.tensors.keys()], [...a.tensors.keys()]);
  for (const [name, { data }] of a.tensors) assert.deepEqual(b.tensors.get(name)!.data, data, name);
  console.log(`weights and moments, ${a.tensors.size} tensors: the same to the last bit`);

  const lines = await Promise.all(["undisturbed", "killed"].map(lastLines));
  assert.equal(lines[0].size, STEPS);
  assert.deepEqual(lines[1], lines[0]);
  console.log(`log.txt: the last line of each step says the same`);
  const curves = await Promise.all(["undisturbed", "killed"].map(curve));
  assert.equal(curves[0].length, STEPS);
  assert.deepEqual(curves[1], curves[0]);
  console.log(`TensorBoard: ${curves[0].length} points of loss/train, one for each step, the same`);
}

/** What the log says last of each step: learning rate, norm and loss. */
async function lastLines(name: string): Promise<Map<string, string>> {
  const log = await Deno.readTextFile(join(folder, name, "log.txt"));
  const found = log.matchAll(/^step +(\d+)\/\d+ (\| lr \S+ \| grad_norm \S+ \| loss \S+)/gm);
  return new Map(Array.from(found, ([, step, text]) => [step, text]));
}

/** The points of `loss/train` that TensorBoard shows: files in order, and what a restart takes back dropped. */
async function curve(name: string): Promise<[step: number, loss: number][]> {
  const names = [...Deno.readDirSync(join(folder, name))].map(({ name }) => name)
    .filter((name) => name.includes("tfevents")).sort();
  let points: [number, number][] = [];
  for (const file of names) {
    for (const event of records(await Deno.readFile(join(folder, name, file)))) {
      const { step, restart, loss } = readEvent(event);
      if (restart) points = points.filter(([at]) => at < step);
      if (loss !== undefined) points.push([step, loss]);
    }
  }
  return points;
}

/** TFRecords: length (8 bytes), its CRC (4), data, CRC (4). A last one that is cut short is not there. */
function* records(bytes: Uint8Array): Iterable<Uint8Array> {
  const view = new DataView(bytes.buffer);
  for (let at = 0; at + 12 <= bytes.length;) {
    const length = Number(view.getBigUint64(at, true));
    if (at + 16 + length > bytes.length) return;
    yield bytes.subarray(at + 12, at + 12 + length);
    at += 16 + length;
  }
}

/** Fields of `Event`: 2 step, 5 summary (1 value: 1 tag, 2 simple_value), 7 session_log. */
function readEvent(bytes: Uint8Array): { step: number; restart: boolean; loss?: number } {
  const event = { step: 0, restart: false, loss: undefined as number | undefined };
  const fields = (reader: BinaryReader, end: number, on: (field: number) => boolean) => {
    while (reader.pos < end) {
      const [field, type] = reader.tag();
      if (!on(field)) reader.skip(type);
    }
  };
  const reader = new BinaryReader(bytes);
  const inner = (on: (field: number) => boolean) =>
    fields(reader, reader.uint32() + reader.pos, on);
  fields(reader, bytes.length, (field) => {
    if (field === 2) event.step = Number(reader.int64());
    else if (field === 5) {
      inner((field) => {
        if (field !== 1) return false;
        let tag = "";
        inner((field) => {
          if (field === 1) tag = reader.string();
          else if (field === 2 && tag === "loss/train") event.loss = reader.float();
          else return false;
          return true;
        });
        return true;
      });
    } else if (field === 7) {
      event.restart = true;
      return false;
    } else return false;
    return true;
  });
  return event;
}

/** Random numbers in [0, 1) of a seed. */
function mulberry32(state: number): () => number {
  return () => {
    state = (state + 0x6D2B79F5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}
