/**
 * Proof: a run of `reproduce_gpt.ts` on several ranks, one of which is killed ten times at random moments and while a
 * checkpoint is written, ends as an undisturbed run of one process: each time all ranks end within seconds, the newest
 * checkpoint is whole, and the run goes on on another number of ranks, without losing or repeating a token.
 * `deno task proof:ranks [seed]`; needs Debian's `openmpi-bin` and `mpich`, and takes some minutes.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { formatTable, loadNewestCheckpoint } from "../../mod.ts";

const KILLS = 10, STEPS = 150, TOKENS = 6 * 16;
const EXAMPLE = new URL("../../examples/reproduce_gpt.ts", import.meta.url).pathname;
// One rate, so that losses do not depend on what each life was told to do; a checkpoint every third step.
const ARGS = [
  ...["--device", "cpu", "--steps", String(STEPS), "--every", "3", "--keep", "2"],
  ...["--layers", "1", "--embed", "16", "--heads", "2", "--context", "16", "--batch", "2"],
  ...["--total-batch", String(TOKENS), "--warmup", "2", "--lr", "1e-3", "--min-lr", "1e-3"],
  ...["--val-tokens", "96", "--samples", "0"],
];
const LAUNCHERS = [
  ["mpirun.openmpi", "--allow-run-as-root", "--oversubscribe"],
  ["mpirun.mpich"],
];

const seed = Number(Deno.args[0] ?? Math.floor(Math.random() * 2 ** 32));
console.log(`seed ${seed}`);
let state = seed;
/** The next number of a linear congruential generator. */
const below = (most: number): number => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor(state / 2 ** 32 * most);
};
const folder = await Deno.makeTempDir({ prefix: "dinograd-ranks" });
try {
  const one = await live([], 1, ["--out", "one"]);
  assert.equal(one.code, 0, one.text);
  const rows = [];
  for (let kill = 1; kill <= KILLS; kill++) {
    const ranks = 2 + below(3), victim = below(ranks), launcher = LAUNCHERS[kill % 2];
    const inWrite = below(2) === 0;
    const { code, text, seconds } = await live(launcher, ranks, goOn(), {
      victim,
      when: inWrite ? "write" : below(1000),
    });
    assert.notEqual(code, 0, `the run ended before kill ${kill}: give it more steps`);
    assert.ok(seconds < 15, `the ranks took ${seconds} s to end`);
    assert.match(text, new RegExp(`process rank ${victim} with PID|BAD TERMINATION`));
    const checkpoint = await loadNewestCheckpoint(join(folder, "killed"), {
      onRefused: (error) => {
        throw error;
      },
    });
    rows.push({
      kill,
      launcher: launcher[0],
      killed: `rank ${victim} of ${ranks}`,
      when: inWrite ? "a checkpoint is written" : "any",
      end: `${seconds.toFixed(1)} s`,
      saved: checkpoint?.step ?? 0,
    });
  }
  const last = await live(LAUNCHERS[0], 2, goOn());
  assert.equal(last.code, 0, last.text);
  console.log(formatTable(rows, [
    ...[{ key: "kill" }, { key: "launcher" }, { key: "killed" }, { key: "when" }],
    { key: "end", title: "all ended after" },
    { key: "saved", title: "newest checkpoint" },
  ]));
  await compare();
} finally {
  await Deno.remove(folder, { recursive: true });
}

function goOn(): string[] {
  try {
    const names = [...Deno.readDirSync(join(folder, "killed"))].map(({ name }) => name);
    if (names.some((name) => name.startsWith("step_"))) return ["--resume", "killed"];
  } catch { /* not there yet */ }
  return ["--out", "killed"];
}

/** Runs ranks until the end, or kills one: some milliseconds after its first step, or as a checkpoint is written. */
async function live(
  launcher: readonly string[],
  ranks: number,
  args: readonly string[],
  kill?: { victim: number; when: number | "write" },
): Promise<{ code: number; text: string; seconds: number }> {
  const deno = [Deno.execPath(), "run", "-A", "--quiet", "--no-check", EXAMPLE, ...args, ...ARGS];
  const [command, ...rest] = launcher.length > 0
    ? [...launcher, "-n", String(ranks), ...deno]
    : deno;
  const child = new Deno.Command(command, {
    args: rest,
    cwd: folder,
    env: { NO_COLOR: "1", DINOGRAD_BLAS: "off", TMPDIR: "/tmp" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let [text, killedAt, started] = ["", 0, false];
  const isWriting = () =>
    [...Deno.readDirSync(join(folder, "killed"))].some(({ name }) => name.endsWith(".tmp"));
  const end = async () => {
    if (!kill) return;
    if (kill.when === "write") { while (!isWriting()) await sleep(0); }
    else await sleep(kill.when);
    const process = new RegExp(`rank ${kill.victim} is process (\\d+)`).exec(text)![1];
    killedAt = performance.now();
    Deno.kill(Number(process), "SIGKILL");
  };
  let ending: Promise<void> | undefined;
  const collect = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const part of stream.pipeThrough(new TextDecoderStream())) {
      text += part;
      if (started || !/^step /m.test(text)) continue;
      started = true;
      ending = end();
    }
  };
  const [{ code }] = await Promise.all([
    child.status,
    collect(child.stdout),
    collect(child.stderr),
  ]);
  await ending;
  return { code, text, seconds: (performance.now() - killedAt) / 1000 };
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

async function compare(): Promise<void> {
  const [one, killed] = await Promise.all(
    ["one", "killed"].map(async (name) => (await loadNewestCheckpoint(join(folder, name)))!),
  );
  type State = { loader: { position: number }; extra: { curves: { train: [number, number][] } } };
  const [a, b] = [one.state, killed.state] as unknown as State[];
  assert.deepEqual(b.loader, a.loader);
  assert.equal(b.loader.position, STEPS * TOKENS);
  let worst = 0;
  for (const [i, [step, loss]] of a.extra.curves.train.entries()) {
    const [other, value] = b.extra.curves.train[i];
    assert.equal(other, step);
    worst = Math.max(worst, Math.abs(value - loss));
  }
  assert.equal(b.extra.curves.train.length, STEPS);
  assert.ok(worst < 1e-3, `losses differ by ${worst}`);
  console.log(
    `${STEPS} steps, ${b.loader.position} tokens in both; losses differ by ${worst} at most`,
  );
}
