// Ranks that are killed, interrupted or slow.
import assert from "node:assert/strict";
import { join } from "node:path";
import { Ranks } from "../../src/cli/train/ranks.ts";
import { type Gatherable, SingleProcess } from "../../src/distributed/communicator.ts";
import { listCheckpoints, loadCheckpoint } from "../../src/io/checkpoint.ts";
import { finish, inFolder } from "../support/examples.ts";
import { onLauncher, runRanks, startRanks } from "../support/mpi.ts";

const example = new URL("../../examples/reproduce_gpt.ts", import.meta.url).pathname;
const small = [
  ...["--device", "cpu", "--layers", "1", "--embed", "16", "--heads", "2", "--context", "16"],
  ...["--batch", "2", "--total-batch", "96", "--every", "2", "--val-tokens", "48"],
  ...["--samples", "0", "--out", "run"],
];

/** Runs until step 7 is told, does something to the launcher or to a rank's process, and waits for the end. */
async function disturb(
  launcher: "openmpi" | "mpich",
  cwd: string,
  how: (child: Deno.ChildProcess, processOf: (rank: number) => number) => void,
): Promise<{ code: number; text: string; seconds: number; processes: number[] }> {
  const args = ["-A", example, ...small, "--steps", "5000"];
  const child = startRanks(launcher, 3, args, { cwd });
  let at = 0;
  const processes: number[] = [];
  const { code, text } = await finish(child, (text) => {
    if (at > 0 || !/step +7\/5000/.test(text)) return;
    at = performance.now();
    processes.push(
      ...[...text.matchAll(/rank \d is process (\d+)/g)].map(([, process]) => Number(process)),
    );
    how(child, (rank) => processes[rank]);
  });
  return { code, text, processes, seconds: (performance.now() - at) / 1000 };
}

/** Waits a few seconds at most: a launcher may end a little before its processes. */
async function allEnded(processes: readonly number[]): Promise<void> {
  const begun = performance.now();
  for (const process of processes) {
    while (isRunning(process)) {
      assert.ok(performance.now() - begun < 10_000, `process ${process} is still there`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

function isRunning(process: number): boolean {
  try {
    Deno.kill(process, "SIGCONT");
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

for (const launcher of ["openmpi", "mpich"] as const) {
  onLauncher(
    "where a rank is killed all end, and fewer go on",
    launcher,
    () =>
      inFolder(async (folder) => {
        const { code, text, seconds, processes } = await disturb(
          launcher,
          folder,
          (_, processOf) => Deno.kill(processOf(1), "SIGKILL"),
        );
        assert.notEqual(code, 0, text);
        assert.ok(seconds < 15, `the others ended after ${seconds} s`);
        // MPICH names a process, which is not always the one that was killed.
        assert.match(text, launcher === "openmpi" ? /process rank 1 with PID/ : /BAD TERMINATION/);
        await allEnded(processes);

        const checkpoints = await listCheckpoints(join(folder, "run"));
        for (const { path } of checkpoints) await loadCheckpoint(path);
        const { step } = checkpoints.at(-1)!;
        const steps = ["--steps", String(step + 1)];
        const resumed = await runRanks(launcher, 2, ["-A", example, "--resume", "run", ...steps], {
          cwd: folder,
        });
        assert.equal(resumed.code, 0, resumed.text);
        assert.match(resumed.text, new RegExp(`resuming after step ${step} from run`));
      }),
  );

  onLauncher(
    "Ctrl-C at the launcher ends all ranks, and the run goes on",
    launcher,
    () =>
      inFolder(async (folder) => {
        const { text, seconds, processes } = await disturb(
          launcher,
          folder,
          (child) => child.kill("SIGINT"),
        );
        assert.ok(seconds < 15, `the ranks ended after ${seconds} s`);
        assert.match(text, /SIG(INT|TERM): finishing this step and saving/);
        // Open MPI kills ranks that take longer than a second or two.
        const stopped = /stopped after step (\d+) of 5000; resume with --resume run/.exec(text);
        if (launcher === "mpich") assert.ok(stopped, text);
        await allEnded(processes);
        const checkpoints = await listCheckpoints(join(folder, "run"));
        for (const { path } of checkpoints) await loadCheckpoint(path);
        if (stopped) assert.equal(checkpoints.at(-1)!.step, Number(stopped[1]));
      }),
  );
}

Deno.test("a slow rank is named, once a minute, and one that is asked to stop stops all", async () => {
  class Three extends SingleProcess {
    override readonly size = 3;
    override readonly hosts = ["a", "b", "c"];
    slow = 1;
    override gather<T extends Gatherable>([stops, time]: T): Promise<T> {
      return Promise.resolve(Float64Array.of(0, time, stops, time * this.slow, 0, time) as T);
    }
  }
  const communicator = new Three();
  const ranks = new Ranks(communicator);
  const warnings: (string | undefined)[] = [];
  for (let step = 0; step < 40; step++) {
    if (step === 20) communicator.slow = 3;
    const { stops, warning } = await ranks.agree(false, 100);
    assert.equal(stops, false);
    warnings.push(warning);
  }
  assert.ok(warnings.slice(0, 20).every((warning) => warning === undefined));
  const told = warnings.filter((warning) => warning !== undefined);
  assert.equal(told.length, 1);
  assert.match(
    told[0],
    /^rank 1 on b is slow .*: 1[5-9]\d ms per step, the median is 100 ms$/,
  );
  assert.equal((await ranks.agree(true, 100)).stops, true);
});
