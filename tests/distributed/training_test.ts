// reproduce_gpt on several ranks: the numbers of one, saved and resumed on others.
import assert from "node:assert/strict";
import { join } from "node:path";
import { finish, inFolder } from "../support/examples.ts";
import { onLauncher, startRanks } from "../support/mpi.ts";

const example = new URL("../../examples/reproduce_gpt.ts", import.meta.url).pathname;
/** 8 sequences a step, of a model whose steps take milliseconds. */
const small = [
  ...["--device", "cpu", "--layers", "2", "--embed", "16", "--heads", "2", "--context", "16"],
  ...["--total-batch", "128", "--warmup", "2", "--every", "100", "--val-tokens", "112"],
  // One rate after the warm-up, so that runs of any length have the same.
  ...["--samples", "0", "--steps", "20", "--lr", "4e-3", "--min-lr", "4e-3"],
];

/** The losses that a run prints, by step, and those of validations. */
function lossesIn(text: string): { train: Map<number, number>; validation: number[] } {
  const train = [...text.matchAll(/step +(\d+)\/\d+ .* loss (\S+) /g)]
    .map(([, step, loss]) => [Number(step), Number(loss)] as const);
  const validation = [...text.matchAll(/validation loss (\S+)/g)].map(([, loss]) => Number(loss));
  return { train: new Map(train), validation };
}

/** Holds losses to those of one rank: f32 has 7 digits, of which sums in another order change the last. */
function assertSameLosses(text: string, expected: string, first = 1, last = 20): void {
  const [a, b] = [lossesIn(text), lossesIn(expected)];
  assert.equal(Math.min(...a.train.keys()), first);
  for (let step = first; step <= last; step++) {
    const [loss, wanted] = [a.train.get(step)!, b.train.get(step)!];
    assert.ok(Math.abs(loss - wanted) <= 2e-7 * wanted + 5e-7, `step ${step}: ${loss}, ${wanted}`);
  }
  if (last === 20) assert.ok(Math.abs(a.validation.at(-1)! - b.validation.at(-1)!) < 2e-4, text);
}

async function train(cwd: string, args: string[]): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", example, ...small, ...args],
    cwd,
    env: { NO_COLOR: "1", DINOGRAD_BLAS: "off" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const { code, text } = await finish(child);
  assert.equal(code, 0, text);
  return text;
}

async function trainOn(
  launcher: "openmpi" | "mpich",
  ranks: number,
  cwd: string,
  args: string[],
): Promise<string> {
  const deno = ["-A", example, ...small, ...args];
  const { code, text } = await finish(startRanks(launcher, ranks, deno, { cwd }));
  assert.equal(code, 0, text);
  assert.match(text, new RegExp(`^${ranks} ranks on 1 machine by `, "m"));
  return text;
}

onLauncher(
  "4 ranks have the losses of one, and 3, 2 and 1 go on where they stopped",
  "openmpi",
  () =>
    inFolder(async (folder) => {
      const one = await train(folder, ["--out", "one", "--batch", "8"]);
      const on = (ranks: number, ...args: string[]) =>
        trainOn("openmpi", ranks, folder, ["--batch", "2", ...args]);
      assertSameLosses(await on(4, "--out", "run", "--steps", "7"), one, 1, 7);
      const three = await on(3, "--resume", "run", "--steps", "12", "--shard-optimizer");
      assert.match(three, /resuming after step 7 from run/);
      assertSameLosses(three, one, 8, 12);
      assert.match(three, /optimizer state: at most 6\.1\d MiB per rank, 6\.1\d MiB in total/);
      assertSameLosses(await on(2, "--resume", "run", "--steps", "17"), one, 13, 17);
      assertSameLosses(await train(folder, ["--resume", "run"]), one, 18, 20);
      // One log, one line a step.
      const log = await Deno.readTextFile(join(folder, "run", "log.txt"));
      assert.deepEqual(
        [...log.matchAll(/^step +(\d+)\//gm)].map(([, step]) => Number(step)),
        Array.from({ length: 20 }, (_, i) => i + 1),
      );
    }),
);

onLauncher(
  "2 ranks have the losses of one with --recompute, close to them with --wire f16, and learn with --diloco",
  "mpich",
  () =>
    inFolder(async (folder) => {
      const one = await train(folder, ["--out", "one", "--batch", "8"]);
      const args = ["--out", "two", "--batch", "2", "--recompute"];
      assertSameLosses(await trainOn("mpich", 2, folder, args), one);
      const half = lossesIn(await trainOn("mpich", 2, folder, ["--out", "half", "--wire", "f16"]));
      for (const [step, loss] of lossesIn(one).train) {
        assert.ok(Math.abs(half.train.get(step)! - loss) < 2e-3, `step ${step}`);
      }
      // Another way down: ranks that train apart learn, and go on after a save.
      const apart = ["--diloco", "4", "--batch", "2", "--out", "apart"];
      await trainOn("mpich", 2, folder, [...apart, "--steps", "12"]);
      const resumed = lossesIn(await trainOn("mpich", 2, folder, ["--resume", "apart"]));
      assert.equal(Math.min(...resumed.train.keys()), 13);
      const [began, ended] = [lossesIn(one).validation[0], resumed.validation.at(-1)!];
      assert.ok(ended < began - 0.2, `${began} became ${ended}`);
    }),
);
