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
  ...["--samples", "0", "--steps", "20"],
];

/** The losses that a run prints, by step, and those of validations. */
function lossesIn(text: string): { train: Map<number, number>; validation: number[] } {
  const train = [...text.matchAll(/step +(\d+)\/\d+ .* loss (\S+) /g)]
    .map(([, step, loss]) => [Number(step), Number(loss)] as const);
  const validation = [...text.matchAll(/validation loss (\S+)/g)].map(([, loss]) => Number(loss));
  return { train: new Map(train), validation };
}

/** Holds losses to those of one rank: f32 has 7 digits, of which sums in another order change the last. */
function assertSameLosses(text: string, expected: string, first = 1): void {
  const [a, b] = [lossesIn(text), lossesIn(expected)];
  for (let step = first; step <= 20; step++) {
    const [loss, wanted] = [a.train.get(step)!, b.train.get(step)!];
    assert.ok(Math.abs(loss - wanted) <= 2e-7 * wanted + 5e-7, `step ${step}: ${loss}, ${wanted}`);
  }
  assert.ok(Math.abs(a.validation.at(-1)! - b.validation.at(-1)!) < 2e-4, text);
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
  "2 and 4 ranks have the losses of one, and 3 go on where 4 stopped",
  "openmpi",
  () =>
    inFolder(async (folder) => {
      const one = await train(folder, ["--out", "one", "--batch", "8"]);
      assertSameLosses(await trainOn("openmpi", 2, folder, ["--out", "two", "--batch", "4"]), one);

      const begin = ["--out", "four", "--batch", "2", "--steps", "7", "--min-lr", "4e-3"];
      const straight = await train(folder, ["--batch", "8", "--min-lr", "4e-3", "--out", "same"]);
      await trainOn("openmpi", 4, folder, begin);
      const resumed = await trainOn("openmpi", 3, folder, ["--resume", "four", "--batch", "2"]);
      assert.match(resumed, /going on after step 7 from four/);
      assertSameLosses(resumed, straight, 8);
      // One log, one checkpoint a step.
      const log = await Deno.readTextFile(join(folder, "four", "log.txt"));
      assert.deepEqual(
        [...log.matchAll(/^step +(\d+)\//gm)].map(([, step]) => Number(step)),
        Array.from({ length: 20 }, (_, i) => i + 1),
      );
    }),
);

onLauncher(
  "2 ranks have the losses of one with --recompute, close to them with --wire f16",
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
    }),
);
