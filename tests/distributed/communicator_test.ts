// Communicators over both libraries of MPI, and what is said where library and launcher do not fit.
import assert from "node:assert/strict";
import { type Communicator, SingleProcess } from "../../src/distributed/communicator.ts";
import { openCommunicator } from "../../src/distributed/mpi.ts";
import { type Launcher, onLauncher, runRanks } from "../support/mpi.ts";

const program = new URL("collectives.ts", import.meta.url).pathname;
const open = 'import { openCommunicator } from "' +
  new URL("../../src/distributed/mpi.ts", import.meta.url).href + '";';

/** A program in a `data:` URL that opens a communicator `c`. */
function programOf(body: string): string {
  const text = `${open} try { await using c = await openCommunicator(); ${body} } ` +
    "catch (error) { console.error(error.message); Deno.exit(1); }";
  return "data:text/javascript," + encodeURIComponent(text);
}

for (const [launcher, ranks] of [["openmpi", 2], ["openmpi", 4], ["mpich", 2]] as const) {
  onLauncher(`every call of a communicator on ${ranks} ranks`, launcher, async () => {
    const { code, text } = await runRanks(launcher, ranks, ["-A", program, String(ranks)]);
    assert.equal(code, 0, text);
    for (let rank = 0; rank < ranks; rank++) {
      assert.match(
        text,
        new RegExp(`rank ${rank} of ${ranks} is done, ${ranks} ranks on 1 machine`),
      );
    }
    assert.match(text, launcher === "openmpi" ? /by Open MPI v\d/ : /by MPICH/);
  });
}

const other: Record<Launcher, string> = { openmpi: "libmpich.so.12", mpich: "libmpi.so.40" };
for (const launcher of ["openmpi", "mpich"] as const) {
  onLauncher("a library of another launcher is refused", launcher, async () => {
    const env = { DINOGRAD_MPI: other[launcher] };
    const { code, text } = await runRanks(launcher, 2, ["-A", programOf("")], { env });
    assert.notEqual(code, 0);
    assert.match(
      text,
      /expected the 2 ranks that the mpirun of .* started but got 1 from lib.*another than the launcher's/,
    );
  });

  onLauncher("a library that is not there is named, and how to get it", launcher, async () => {
    const env = { DINOGRAD_MPI: "libnone.so" };
    const { code, text } = await runRanks(launcher, 1, ["-A", programOf("")], { env });
    assert.notEqual(code, 0);
    assert.match(text, /expected its library but got none of libnone\.so \(Debian: /);
  });

  onLauncher("abort ends ranks that wait, and names the one that asked", launcher, async () => {
    const body = `if (c.rank === 1) await c.abort("the disk is full", 3); await c.barrier();`;
    const { code, text } = await runRanks(launcher, 2, ["-A", programOf(body)]);
    assert.notEqual(code, 0);
    assert.match(text, /error: rank 1 on \S+: the disk is full/);
  });

  onLauncher(
    "--allow-env and --allow-ffi are enough, and without them nothing is asked",
    launcher,
    async () => {
      const body = "console.log(`size ${c.size}`);";
      const run = (...flags: string[]) =>
        runRanks(launcher, 2, ["--no-prompt", ...flags, programOf(body)]);
      assert.equal((await run("--allow-env", "--allow-ffi")).out.match(/size 2/g)?.length, 2);
      assert.match((await run("--allow-env")).text, /--allow-ffi/);
      assert.equal((await run()).out.match(/size 1/g)?.length, 2);
    },
  );
}

Deno.test("without a launcher a communicator is a process on its own", async () => {
  await using communicator: Communicator = await openCommunicator();
  assert.equal(communicator.constructor, SingleProcess);
  const values = Float32Array.of(1, 2);
  await communicator.allReduce(values);
  await communicator.broadcast(values);
  await communicator.barrier();
  assert.deepEqual([...values], [1, 2]);
  assert.deepEqual([...await communicator.gather(Float64Array.of(3))], [3]);
});
