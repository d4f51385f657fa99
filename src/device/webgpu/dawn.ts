/**
 * Dawn, Chrome's implementation of WebGPU, in place of the runtime's own. In Deno 2.9, a read costs 0.7 ms with Dawn
 * and 11.5 ms with Deno's own (wgpu), and Dawn gives access to matrix units. The package, `npm:webgpu`, contains native
 * code for Linux, macOS and Windows (132 MB); it is downloaded when Dawn is requested.
 *
 * @module
 */
import { importLate } from "../../io/late_import.ts";
import { DeviceError } from "../errors.ts";

/** The npm package. */
const PACKAGE = "npm:webgpu@0.6.2";
/** The environment variable that chooses an implementation of WebGPU. */
const VARIABLE = "DINOGRAD_GPU";

/** The exports of the package. */
interface DawnModule {
  create(options: string[]): GPU;
  /** WebGPU's interfaces and constants, such as `GPUBufferUsage`. */
  readonly globals: Readonly<Record<string, unknown>>;
}

/** Kept, since Dawn destroys its devices together with this object. */
let loaded: Promise<GPU> | undefined;

/**
 * Loads Dawn and returns it as an object like `navigator.gpu`, for `openDevice({ gpu: await loadDawn() })`;
 * `openDevice({ gpu: "dawn" })` is equivalent. Needs `--allow-ffi`. If there are several drivers, `VK_DRIVER_FILES`
 * chooses one.
 *
 * Throws a {@linkcode DeviceError} if the package cannot be downloaded or has no code for this system.
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
  // Matrix units are an experimental extension, which Dawn counts as unsafe. f16 on NVIDIA's GPUs is off by default,
  // because of corner cases of conversions in old drivers. Timestamps are rounded to 65 us by default, against
  // fingerprinting in browsers; most launches are shorter.
  return dawn.create([
    "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia",
    "disable-dawn-features=timestamp_quantization",
  ]);
}

/**
 * Milliseconds of a wait during which Dawn polls for results in every turn of the event loop; after that, once per
 * millisecond.
 */
const EAGER = 5;

/**
 * While something is awaited, Dawn polls for results with `setImmediate`, each time with a new native function. The
 * time Deno takes to free these grows with the square of their number: after a wait of a minute, it stalled for
 * several. Native functions scheduled for longer than {@linkcode EAGER} therefore get their turns from a timer.
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
 * The implementation of WebGPU to use: the given one, Dawn if `DINOGRAD_GPU=dawn` is set and may be read, or the
 * runtime's own; undefined if that has none.
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

/** The value of the environment variable, if it may be read. */
function variable(): string | undefined {
  if (!("Deno" in globalThis)) return undefined;
  const permission = Deno.permissions.querySync({ name: "env", variable: VARIABLE });
  return permission.state === "granted" ? Deno.env.get(VARIABLE) || undefined : undefined;
}
