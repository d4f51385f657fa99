/**
 * Dawn, Chrome's implementation of WebGPU, in place of the runtime's own. In Deno 2.9 a read costs 0.7 ms with it, where
 * Deno's own (wgpu) needs 11.5, and it gives access to matrix units. The package, `npm:webgpu`, holds native code for
 * Linux, macOS and Windows (132 MB); it is downloaded when Dawn is asked for.
 *
 * @module
 */
import { importLate } from "../../io/late_import.ts";
import { DeviceError } from "../errors.ts";

/** The package. */
const PACKAGE = "npm:webgpu@0.6.2";
/** The environment variable that chooses an implementation of WebGPU. */
const VARIABLE = "DINOGRAD_GPU";

/** What the package exports. */
interface DawnModule {
  create(options: string[]): GPU;
  /** The interfaces and constants of WebGPU, `GPUBufferUsage` and the like. */
  readonly globals: Readonly<Record<string, unknown>>;
}

/** Dawn takes its devices down with this object, so it is kept. */
let loaded: Promise<GPU> | undefined;

/**
 * Dawn as an object like `navigator.gpu`, for `openDevice({ gpu: await loadDawn() })`; `openDevice({ gpu: "dawn" })` is the
 * same. Needs `--allow-ffi`. Where there are several drivers, `VK_DRIVER_FILES` chooses one.
 *
 * Throws a {@linkcode DeviceError} where the package cannot be downloaded or has no code for this system.
 */
export function loadDawn(): Promise<GPU> {
  return loaded ??= load().catch((error) => {
    loaded = undefined;
    throw error;
  });
}

async function load(): Promise<GPU> {
  slowDownTurns();
  let dawn: DawnModule;
  try {
    dawn = await importLate<DawnModule>(PACKAGE);
  } catch (error) {
    throw new DeviceError(
      `loadDawn: expected the package ${PACKAGE} and --allow-ffi, which its native code needs, but got ` +
        `"${
          error instanceof Error ? error.message.split("\n")[0] : error
        }"; without Dawn, the runtime's own ` +
        `WebGPU does the same`,
      { cause: error },
    );
  }
  for (const [name, value] of Object.entries(dawn.globals)) {
    if (!(name in globalThis)) Object.defineProperty(globalThis, name, { value });
  }
  // Matrix units are an experimental extension, which Dawn counts among the unsafe; f16 on NVIDIA's GPUs is off by default,
  // for corner cases of conversions in old drivers.
  return dawn.create(["enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia"]);
}

/** Milliseconds of a wait in which Dawn looks for results in every turn of the event loop; later once in a millisecond. */
const EAGER = 5;

/**
 * Dawn looks for results in turns of `setImmediate` for as long as something is awaited, each with a new native function.
 * Deno frees these in a time that grows with the square of their number: after a wait of a minute it stood still for
 * several. Native functions that are scheduled for longer than {@linkcode EAGER} get their turns from a timer.
 */
function slowDownTurns(): void {
  if (!("Deno" in globalThis)) return;
  const { setImmediate } = globalThis;
  let began = 0;
  let inTurn = false;
  const slower = (callback: (...args: unknown[]) => void, ...args: unknown[]) => {
    if (callback.name !== "" || !/\[native code\]/.test(String(callback))) {
      return setImmediate(callback, ...args);
    }
    const now = performance.now();
    if (!inTurn) began = now; // a wait begins
    const turn = () => {
      inTurn = true;
      try {
        callback(...args);
      } finally {
        inTurn = false;
      }
    };
    return now - began > EAGER ? setTimeout(turn, 1) : setImmediate(turn);
  };
  globalThis.setImmediate = Object.assign(slower, setImmediate);
}

/**
 * The implementation of WebGPU to use: the given one, Dawn where `DINOGRAD_GPU=dawn` says so and may be read, else the
 * runtime's own; undefined where that has none.
 */
export async function chooseGpu(given?: GPU | "dawn"): Promise<GPU | undefined> {
  const choice = given ?? variable();
  if (choice === "dawn") return await loadDawn();
  if (typeof choice === "string") {
    throw new TypeError(`${given ? "gpu" : VARIABLE}: expected "dawn" but got "${choice}"`);
  }
  // Not every runtime has `navigator.gpu`, whatever the types say.
  return choice ?? globalThis.navigator?.gpu;
}

/** What the environment asks for, where reading it is allowed. */
function variable(): string | undefined {
  if (!("Deno" in globalThis)) return undefined;
  const permission = Deno.permissions.querySync({ name: "env", variable: VARIABLE });
  return permission.state === "granted" ? Deno.env.get(VARIABLE) || undefined : undefined;
}
