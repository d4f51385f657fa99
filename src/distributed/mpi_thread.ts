/**
 * The thread that makes all MPI calls, in order, while the thread that requested them computes: so MPI only deals with
 * one thread.
 *
 * @module
 */

/** What the thread gets when it starts. */
export interface MpiThreadSetup {
  /** The path or name of the library. */
  readonly library: string;
  /** An Int32: an exit code plus 1 once the job is to be aborted, whatever the thread waits for. */
  readonly abort: SharedArrayBuffer;
}

/** A call for the thread to make. */
export interface MpiCommand {
  readonly id: number;
  readonly call: "sum" | "broadcast" | "gather" | "barrier" | "finalize";
  readonly memory?: SharedArrayBuffer;
  readonly byteOffset?: number;
  /** The number of elements of `type`. */
  readonly length?: number;
  readonly type?: "f32" | "f64" | "f16" | "bytes";
  /** For `sum`: f32 that is sent as f16. */
  readonly wire?: "f32" | "f16" | undefined;
  /** For `broadcast`: the rank whose values are copied. */
  readonly root?: number;
  /** For `gather`: where the values of all ranks go. */
  readonly target?: SharedArrayBuffer;
}

/** The thread's answers: first `started`, then one for each command. */
export interface MpiReply {
  readonly id: number;
  readonly error?: string;
  /** The milliseconds that the call took. */
  readonly milliseconds?: number;
  readonly started?: {
    readonly rank: number;
    readonly size: number;
    readonly version: string;
    readonly hosts: readonly string[];
  };
}

/** The part of a message port that the thread needs. */
interface Port {
  on(event: "message", listener: (command: MpiCommand) => void): void;
  postMessage(reply: MpiReply): void;
}

/** The program of the thread. Its source runs in a worker, so it may use nothing from this module but its arguments. */
export function mpiThread({ library, abort }: MpiThreadSetup, port: Port): void {
  /** The bytes of a single MPI call; longer ones are split, so that each wait is short. */
  const PIECE = 2 ** 22;
  /** How often the thread polls a call before it sleeps between two polls. */
  const SPINS = 200;
  const NAME_BYTES = 256, VERSION_BYTES = 8192;

  const encode = (text: string) => new TextEncoder().encode(text + "\0");
  const system = Deno.dlopen(library, {
    // From the C library, which a lookup in this one also reaches.
    dlopen: { parameters: ["buffer", "i32"], result: "pointer" },
    dlsym: { parameters: ["pointer", "buffer"], result: "pointer" },
    sched_yield: { parameters: [], result: "i32" },
  });
  const self = system.symbols.dlopen(encode(library), 1);
  const symbol = (name: string) => system.symbols.dlsym(self, encode(name));

  // Open MPI's handles are addresses of symbols; MPICH's are numbers that its ABI fixes.
  const isOpenMpi = symbol("ompi_mpi_comm_world") !== null;
  const handle = isOpenMpi ? "pointer" as const : "i32" as const;
  const handleOf = (openMpi: string, mpich: number) =>
    (isOpenMpi ? symbol(openMpi) : mpich) as never;
  const address = (openMpi: bigint, mpich: bigint) =>
    Deno.UnsafePointer.create(isOpenMpi ? openMpi : mpich);
  const WORLD = handleOf("ompi_mpi_comm_world", 0x44000000);
  const BYTE = handleOf("ompi_mpi_byte", 0x4c00010d);
  const FLOAT = handleOf("ompi_mpi_float", 0x4c00040a);
  const DOUBLE = handleOf("ompi_mpi_double", 0x4c00080b);
  const SUM = handleOf("ompi_mpi_op_sum", 0x58000003);
  const ERRORS_RETURN = handleOf("ompi_mpi_errors_return", 0x54000001);
  const IN_PLACE = address(1n, 0xffffffffffffffffn);
  const STATUS_IGNORE = address(0n, 1n);
  const FUNNELED = 1;

  const { symbols: mpi } = Deno.dlopen(library, {
    MPI_Init_thread: { parameters: ["pointer", "pointer", "i32", "buffer"], result: "i32" },
    MPI_Comm_set_errhandler: { parameters: [handle, handle], result: "i32" },
    MPI_Comm_rank: { parameters: [handle, "buffer"], result: "i32" },
    MPI_Comm_size: { parameters: [handle, "buffer"], result: "i32" },
    MPI_Get_library_version: { parameters: ["buffer", "buffer"], result: "i32" },
    MPI_Get_processor_name: { parameters: ["buffer", "buffer"], result: "i32" },
    MPI_Error_string: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
    MPI_Iallreduce: {
      parameters: ["pointer", "buffer", "i32", handle, handle, handle, "buffer"],
      result: "i32",
    },
    MPI_Ibcast: { parameters: ["buffer", "i32", handle, "i32", handle, "buffer"], result: "i32" },
    MPI_Iallgather: {
      parameters: ["buffer", "i32", handle, "buffer", "i32", handle, handle, "buffer"],
      result: "i32",
    },
    MPI_Ialltoall: {
      parameters: ["buffer", "i32", handle, "buffer", "i32", handle, handle, "buffer"],
      result: "i32",
    },
    MPI_Ibarrier: { parameters: [handle, "buffer"], result: "i32" },
    MPI_Test: { parameters: ["buffer", "buffer", "pointer"], result: "i32" },
    MPI_Abort: { parameters: [handle, "i32"], result: "i32" },
    MPI_Finalize: { parameters: [], result: "i32" },
  });

  // With their own buffers, since V8 moves short arrays that have none.
  const ints = new Int32Array(new ArrayBuffer(256));
  const request = new Uint8Array(new ArrayBuffer(256));
  const text = new Uint8Array(new ArrayBuffer(VERSION_BYTES));
  const string = () => new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
  const integer = (call: (out: Int32Array<ArrayBuffer>) => number) => {
    check("MPI_Comm", call(ints));
    return ints[0]!;
  };

  function check(name: string, code: number): void {
    if (code === 0) return;
    text.fill(0);
    mpi.MPI_Error_string(code, text, ints);
    throw new Error(`${name}: ${string()}`);
  }

  const toAbort = new Int32Array(abort);
  /** Polls a call until it has ended: MPI makes progress only while it is polled. */
  function wait(name: string, code: number): void {
    check(name, code);
    for (let looks = 0;; looks++) {
      check("MPI_Test", mpi.MPI_Test(request, ints, STATUS_IGNORE));
      if (ints[0] !== 0) return;
      const exitCode = Atomics.load(toAbort, 0);
      if (exitCode > 0) mpi.MPI_Abort(WORLD, exitCode - 1);
      if (looks < SPINS) system.symbols.sched_yield();
      else Atomics.wait(toAbort, 0, 0, looks < 2 * SPINS ? 0.05 : 0.5);
    }
  }

  let size = 0;
  function gather(values: Uint8Array, all: Uint8Array): void {
    const { length } = values;
    const code = mpi.MPI_Iallgather(
      ...[values as BufferSource, length, BYTE] as const,
      ...[all as BufferSource, length, BYTE, WORLD, request] as const,
    );
    wait("MPI_Iallgather", code);
  }

  function sum(values: Float32Array | Float64Array): void {
    const [type, most] = values instanceof Float32Array ? [FLOAT, PIECE / 4] : [DOUBLE, PIECE / 8];
    for (let start = 0; start < values.length; start += most) {
      const piece = values.subarray(start, start + most) as BufferSource & { length: number };
      const code = mpi.MPI_Iallreduce(IN_PLACE, piece, piece.length, type, SUM, WORLD, request);
      wait("MPI_Iallreduce", code);
    }
  }

  let [sent, received] = [new Float16Array(0), new Float16Array(0)];
  let total = new Float32Array(0);
  /** Each rank sums its part of the values in f32, from terms received as f16, and sends the sum as f16. */
  function sumHalf(values: Float32Array | Float16Array): void {
    const most = PIECE / 2;
    for (let start = 0; start < values.length; start += most) {
      const piece = values.subarray(start, start + most);
      const part = Math.ceil(piece.length / size);
      if (sent.length < part * size) {
        [sent, received] = [new Float16Array(part * size), new Float16Array(part * size)];
        total = new Float32Array(part);
      }
      sent.set(piece);
      const bytes = 2 * part;
      const code = mpi.MPI_Ialltoall(
        ...[sent, bytes, BYTE, received, bytes, BYTE, WORLD, request] as const,
      );
      wait("MPI_Ialltoall", code);
      const sums = total.subarray(0, part);
      sums.set(received.subarray(0, part));
      for (let rank = 1; rank < size; rank++) {
        const terms = received.subarray(rank * part, (rank + 1) * part);
        for (let i = 0; i < part; i++) sums[i]! += terms[i]!;
      }
      sent.set(sums);
      gather(new Uint8Array(sent.buffer, 0, bytes), new Uint8Array(received.buffer));
      piece.set(received.subarray(0, piece.length));
    }
  }

  function run(command: MpiCommand): void {
    const { call, memory, byteOffset = 0, length = 0, type, wire, root = 0, target } = command;
    if (call === "barrier") return wait("MPI_Ibarrier", mpi.MPI_Ibarrier(WORLD, request));
    if (call === "finalize") return check("MPI_Finalize", mpi.MPI_Finalize());
    if (call === "sum") {
      if (type === "f64") return sum(new Float64Array(memory!, byteOffset, length));
      if (type === "f16") return sumHalf(new Float16Array(memory!, byteOffset, length));
      const values = new Float32Array(memory!, byteOffset, length);
      return wire === "f16" ? sumHalf(values) : sum(values);
    }
    const bytes: Uint8Array = new Uint8Array(memory!, byteOffset, length);
    if (call === "gather") return gather(bytes, new Uint8Array(target!));
    for (let start = 0; start < length; start += PIECE) {
      const piece = bytes.subarray(start, start + PIECE) as BufferSource;
      const code = mpi.MPI_Ibcast(piece, piece.byteLength, BYTE, root, WORLD, request);
      wait("MPI_Ibcast", code);
    }
  }

  function start(): MpiReply["started"] {
    check("MPI_Init_thread", mpi.MPI_Init_thread(null, null, FUNNELED, ints));
    check("MPI_Comm_set_errhandler", mpi.MPI_Comm_set_errhandler(WORLD, ERRORS_RETURN));
    const rank = integer((out) => mpi.MPI_Comm_rank(WORLD, out));
    size = integer((out) => mpi.MPI_Comm_size(WORLD, out));
    mpi.MPI_Get_library_version(text, ints);
    const version = string().split(/[,\n]/)[0]!.replace(/\s+/g, " ");
    text.fill(0);
    mpi.MPI_Get_processor_name(text, ints);
    const names = new Uint8Array(NAME_BYTES * size);
    gather(text.slice(0, NAME_BYTES), names);
    const hosts = Array.from({ length: size }, (_, rank) => {
      const name = names.subarray(rank * NAME_BYTES, (rank + 1) * NAME_BYTES);
      return new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
    });
    return { rank, size, version, hosts };
  }

  port.on("message", (command) => {
    const begun = performance.now();
    try {
      run(command);
      port.postMessage({ id: command.id, milliseconds: performance.now() - begun });
    } catch (error) {
      port.postMessage({ id: command.id, error: (error as Error).message });
    }
  });
  try {
    port.postMessage({ id: 0, started: start()! });
  } catch (error) {
    port.postMessage({ id: 0, error: (error as Error).message });
  }
}
