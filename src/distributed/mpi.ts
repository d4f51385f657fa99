/**
 * MPI, the message passing of clusters, by FFI: Open MPI, and MPICH and the libraries that share its ABI.
 *
 * @module
 */
import type { Worker } from "node:worker_threads";
import { workerThreads } from "../io/node_builtins.ts";
import {
  type AllReduceOptions,
  type Communicator,
  type Gatherable,
  SingleProcess,
  type Summable,
} from "./communicator.ts";
import { type MpiCommand, type MpiReply, mpiThread, type MpiThreadSetup } from "./mpi_thread.ts";

/** The library to use, by path or name, or `off` for a single process however it was started. */
const VARIABLE = "DINOGRAD_MPI";

/** How to recognise launchers: a variable with the number of processes, and the library that it goes with. */
const LAUNCHERS = [
  { sizeIn: "OMPI_COMM_WORLD_SIZE", name: "Open MPI" },
  { sizeIn: "PMI_SIZE", name: "MPICH" },
  // `srun --mpi=pmix`
  { sizeIn: "SLURM_STEP_NUM_TASKS", onlyWith: "PMIX_RANK", name: "Open MPI" },
] as const;

type Name = typeof LAUNCHERS[number]["name"];

/** Where the libraries are: names for the system's linker, and places that it does not search. */
const LIBRARIES: Record<Name, Partial<Record<typeof Deno.build.os, readonly string[]>>> = {
  "Open MPI": {
    linux: ["libmpi.so.40", "/usr/lib64/openmpi/lib/libmpi.so.40", "libmpi.so.80"],
    darwin: ["/opt/homebrew/lib/libmpi.40.dylib", "/usr/local/lib/libmpi.40.dylib"],
  },
  "MPICH": {
    linux: ["libmpich.so.12", "libmpi.so.12", "/usr/lib64/mpich/lib/libmpi.so.12"],
    darwin: ["/opt/homebrew/lib/libmpi.12.dylib", "/usr/local/lib/libmpi.12.dylib"],
  },
};

/** The packages that install them. */
const PACKAGES: Record<Name, string> = {
  "Open MPI": "Debian: openmpi-bin",
  "MPICH": "Debian: mpich",
};

/**
 * Opens the communicator of the job that started this process: over MPI under `mpirun` (`mpiexec`, `srun`), otherwise a
 * single process. The environment decides which; without `--allow-env` it is not read, and no permission is asked for.
 * Under `mpirun`, `--allow-ffi` is needed, too. `DINOGRAD_MPI` names a library, or is `off`.
 *
 * Close it before the process ends (`await using`), or else the launcher takes the end for a failure.
 *
 * @throws {Error} where the library is not there, does not start, or is another than the launcher's
 *
 * @example
 * ```ts
 * import { openCommunicator } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * await using communicator = await openCommunicator(); // `mpirun -n 4 deno run -A ...`
 * const { rank, size } = communicator;
 * const values = Float32Array.of(rank + 1);
 * await communicator.allReduce(values);
 * assert.equal(values[0], size * (size + 1) / 2);
 * ```
 */
export async function openCommunicator(): Promise<Communicator> {
  const wanted = variable(VARIABLE);
  const launcher = LAUNCHERS.find((one) =>
    variable(one.sizeIn) !== undefined &&
    (!("onlyWith" in one) || variable(one.onlyWith) !== undefined)
  );
  if (!launcher || wanted === "off") return new SingleProcess();
  const { name, sizeIn } = launcher;
  const names = wanted ? [wanted] : LIBRARIES[name][Deno.build.os] ?? [];
  const library = names.find(canOpen);
  if (library === undefined) {
    throw new Error(
      `openCommunicator: ${sizeIn} is set, as by the mpirun of ${name}, and expected its library ` +
        `but got none of ${names.join(", ")} (${PACKAGES[name]}); ${VARIABLE} names another`,
    );
  }
  return await MpiCommunicator.start(library, name, Number(variable(sizeIn)));
}

/** Returns a variable of the environment, if reading it is already allowed. */
function variable(name: string): string | undefined {
  if (!("Deno" in globalThis)) return undefined; // a browser
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Deno.env.get(name) || undefined : undefined;
}

function canOpen(library: string): boolean {
  try {
    Deno.dlopen(library, {
      MPI_Init_thread: { parameters: [], result: "i32" },
    }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false;
  }
}

/** The program of the worker. */
const WORKER = `
import { parentPort, workerData } from "node:worker_threads";
(${mpiThread})(workerData, parentPort);
`;

/** A command without its id. */
type Call = Omit<MpiCommand, "id">;

class MpiCommunicator implements Communicator {
  rank = 0;
  size = 1;
  hosts: readonly string[] = [];
  description = "";
  busy = 0;
  bytes = 0;
  readonly #worker: Worker;
  readonly #abort = new SharedArrayBuffer(4);
  readonly #pending = new Map<number, PromiseWithResolvers<MpiReply>>();
  #calls = 0;
  #failure: Error | undefined;
  #closed = false;

  private constructor(library: string) {
    const workerData: MpiThreadSetup = { library, abort: this.#abort };
    const url = new URL("data:text/javascript," + encodeURIComponent(WORKER));
    this.#worker = new workerThreads.Worker(url, { workerData });
    this.#worker.on("message", (reply: MpiReply) => this.#answer(reply));
    this.#worker.on("error", (error: Error) => this.#fail(error));
  }

  /** Starts the thread and MPI in it, and checks that the library belongs to the launcher. */
  static async start(library: string, name: string, expected: number): Promise<MpiCommunicator> {
    const communicator = new MpiCommunicator(library);
    const { started } = await communicator.#expect(0);
    const { rank, size, version, hosts } = started!;
    if (size !== expected) {
      throw new Error(
        `openCommunicator: expected the ${expected} ranks that the mpirun of ${name} started but got ` +
          `${size} from ${library} (${version}): the library is another than the launcher's`,
      );
    }
    Object.assign(communicator, { rank, size, hosts });
    const machines = new Set(hosts).size;
    communicator.description = `${size} ranks on ${machines} machine${machines > 1 ? "s" : ""} ` +
      `by ${version}`;
    return communicator;
  }

  async allReduce(values: Summable, options?: AllReduceOptions): Promise<void> {
    const type = values instanceof Float64Array
      ? "f64"
      : values instanceof Float32Array
      ? "f32"
      : "f16";
    const { wire } = options ?? {};
    const isHalf = type === "f32" && wire === "f16";
    this.bytes += isHalf ? values.byteLength / 2 : values.byteLength;
    await this.#inPlace(values, { call: "sum", type, wire, length: values.length });
  }

  async broadcast(values: ArrayBufferView, root = 0): Promise<void> {
    this.bytes += values.byteLength;
    await this.#inPlace(values, { call: "broadcast", root, length: values.byteLength });
  }

  async gather<T extends Gatherable>(values: T): Promise<T> {
    this.bytes += values.byteLength;
    const target = new SharedArrayBuffer(values.byteLength * this.size);
    const { memory, byteOffset } = shared(values);
    await this.#call({ call: "gather", memory, byteOffset, length: values.byteLength, target });
    const Values = values.constructor as new (from: SharedArrayBuffer | T) => T;
    return new Values(new Values(target)); // a copy, whose memory is not shared
  }

  async barrier(): Promise<void> {
    await this.#call({ call: "barrier" });
  }

  async abort(reason: string, exitCode = 1): Promise<never> {
    console.error(`error: rank ${this.rank} on ${this.hosts[this.rank]}: ${reason}`);
    Atomics.store(new Int32Array(this.#abort), 0, exitCode + 1);
    Atomics.notify(new Int32Array(this.#abort), 0);
    await Promise.race([
      this.barrier().catch(() => {}), // the thread notices it here, if it is in no call
      new Promise((resolve) => setTimeout(resolve, 2000)),
    ]);
    Deno.exit(exitCode);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#call({ call: "finalize" });
    await this.#worker.terminate();
  }

  /** Makes a call on values that the thread reads and writes in place, or in a copy. */
  async #inPlace(values: ArrayBufferView, call: Call): Promise<void> {
    const { memory, byteOffset, isCopy } = shared(values);
    await this.#call({ ...call, memory, byteOffset });
    if (isCopy) bytesOf(values).set(new Uint8Array(memory));
  }

  async #call(call: Call): Promise<void> {
    const id = ++this.#calls;
    this.#worker.postMessage({ ...call, id });
    const { milliseconds } = await this.#expect(id);
    this.busy += milliseconds ?? 0;
  }

  #expect(id: number): Promise<MpiReply> {
    if (this.#failure) return Promise.reject(this.#failure);
    const pending = Promise.withResolvers<MpiReply>();
    this.#pending.set(id, pending);
    return pending.promise;
  }

  #answer(reply: MpiReply): void {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if (reply.error === undefined) pending?.resolve(reply);
    else pending?.reject(new Error(reply.error));
  }

  #fail(error: Error): void {
    this.#failure = error;
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Returns memory that the thread can access: that of the values if it is shared, else a copy. */
function shared(
  values: ArrayBufferView,
): { memory: SharedArrayBuffer; byteOffset: number; isCopy: boolean } {
  const { buffer, byteOffset } = values;
  if (buffer instanceof SharedArrayBuffer) return { memory: buffer, byteOffset, isCopy: false };
  const memory = new SharedArrayBuffer(values.byteLength);
  new Uint8Array(memory).set(bytesOf(values));
  return { memory, byteOffset: 0, isCopy: true };
}
