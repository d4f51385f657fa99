/**
 * Runs programs under the launchers of Open MPI and MPICH, which Debian's packages install side by side. `deno task test`
 * installs them and sets DINOGRAD_REQUIRE_MPI=1, with which a launcher that is missing is an error.
 *
 * @module
 */
import { finish } from "./examples.ts";

/** The launchers, with what they have to be told to run as root, and more ranks than there are cores. */
const LAUNCHERS = {
  openmpi: ["mpirun.openmpi", "--allow-run-as-root", "--oversubscribe"],
  mpich: ["mpirun.mpich"],
} as const;

/** The name of a launcher. */
export type Launcher = keyof typeof LAUNCHERS;

/** Starts Deno on each of `ranks` ranks; `deno` are its arguments. */
export function startRanks(
  launcher: Launcher,
  ranks: number,
  deno: readonly string[],
  options?: { cwd?: string; env?: Record<string, string> },
): Deno.ChildProcess {
  const [command, ...flags] = LAUNCHERS[launcher];
  return new Deno.Command(command, {
    args: [...flags, "-n", String(ranks), Deno.execPath(), "run", "--quiet", ...deno],
    // A rank has one of two cores at most; the session folder of Open MPI has a short path.
    env: { NO_COLOR: "1", DINOGRAD_BLAS: "off", TMPDIR: "/tmp", ...options?.env },
    cwd: options?.cwd,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Runs Deno on each of `ranks` ranks: what all of them print, and the launcher's exit code. */
export function runRanks(
  ...args: Parameters<typeof startRanks>
): Promise<{ code: number; text: string; out: string }> {
  return finish(startRanks(...args));
}

/** Registers a test that runs ranks by a launcher; ignored where it is missing and need not be there. */
export function onLauncher(name: string, launcher: Launcher, test: () => Promise<void>): void {
  const [command] = LAUNCHERS[launcher];
  const ignore = !isInstalled(command) && Deno.env.get("DINOGRAD_REQUIRE_MPI") !== "1";
  Deno.test({
    name: `${name} [${launcher}]`,
    ignore,
    async fn() {
      if (!isInstalled(command)) {
        throw new Error(`${command} is not there: apt-get install openmpi-bin mpich`);
      }
      await test();
    },
  });
}

function isInstalled(command: string): boolean {
  try {
    return new Deno.Command(command, { args: ["--version"] }).outputSync().success;
  } catch {
    return false;
  }
}
