/**
 * Chooses among the programs of a kernel by timing them. A kernel chooses its program by the GPU's description, so it
 * chooses another for the description of a weaker or wider GPU; a wider one gets more parts of a product that is split
 * along k. The first launches of each size alternate between these programs, timed by the GPU; the fastest is kept.
 *
 * @module
 */
import type { DType } from "../dtype.ts";
import type { GpuProgram, GpuTarget, Kernel, Params } from "../kernel.ts";
import { GpuTimer } from "./gpu_timer.ts";
import type { GpuRegion } from "./reader.ts";

/**
 * The chosen program for each kind of launch, as the name of the description that leads to it. For checkpoints and
 * storage.
 */
export type ProgramChoices = Readonly<Record<string, string>>;

/** Descriptions of a GPU to try; the first is the true one. */
const DESCRIPTIONS: Readonly<Record<string, (target: GpuTarget) => Partial<GpuTarget>>> = {
  "as it is": () => ({}),
  "no matrix units": () => ({ matrixUnits: false }),
  "no packed dots": () => ({ packedDots: false }),
  "no subgroups": () => ({ subgroups: false, subgroupSize: 0 }),
  "16 KiB": () => ({ maxWorkgroupBytes: 16 * 1024 }),
  "128 invocations": () => ({ maxInvocations: 128 }),
  "narrow": ({ minWorkgroups }) => ({ minWorkgroups: Math.ceil(minWorkgroups / 4) }),
  "wide": ({ minWorkgroups }) => ({ minWorkgroups: 4 * minWorkgroups }),
  "one workgroup": () => ({ minWorkgroups: 1 }),
};
const TRUE_DESCRIPTION = "as it is";

/** Launches with fewer operations are not worth tuning. */
const MIN_FLOPS = 1e6;
/** Timed launches per program; the median counts, as some clocks jump, and first launches take longer. */
const ROUNDS = 3;

/** A kind of launch: a kernel at sizes with the same rounded powers of two. */
interface Candidates {
  /** Descriptions that lead to different programs. */
  readonly names: readonly string[];
  /** Milliseconds per billion operations, for each of them. */
  readonly times: readonly number[][];
  /** Launches so far. */
  launches: number;
}

/** A launch that is still being timed. */
interface Timed {
  readonly key: string;
  readonly candidate: number;
  readonly flops: number;
}

/** What a {@linkcode Tuner} needs. */
export interface TunerOptions {
  readonly gpu: GPUDevice;
  /** Choices from before. */
  readonly choices: ProgramChoices;
  /** Whether to time launches without a choice. */
  readonly measure: boolean;
  /** Called with all choices after each new one. */
  readonly onChoice?: (choices: ProgramChoices) => void;
}

/** Chooses programs. */
export class Tuner {
  #options: TunerOptions;
  #choices: Record<string, string>;
  #candidates = new Map<string, Candidates>();
  #timer: GpuTimer | undefined;
  #timed = new Map<string, Timed>();
  #labels = 0;

  constructor(options: TunerOptions) {
    this.#options = options;
    this.#choices = { ...options.choices };
  }

  /** The choices so far. */
  get choices(): ProgramChoices {
    return { ...this.#choices };
  }

  /** The timer, once there is a launch to time. */
  get timer(): GpuTimer | undefined {
    return this.#timer;
  }

  /**
   * The program of a launch in place of `first`, the kernel's own choice, and the label to time it by if it is to be
   * timed. Nothing is timed while `busy`, for example while the user times launches.
   */
  choose<P extends Params>(
    kernel: Kernel<P>,
    params: P,
    target: GpuTarget,
    first: GpuProgram,
    busy: boolean,
  ): { program: GpuProgram; label?: string } {
    const { flops = 0, fixed = false } = first;
    if (fixed || flops < MIN_FLOPS) return { program: first };
    const key = keyOf(kernel.name, target.dtypes, first);
    const describe = (name: string): GpuProgram =>
      name === TRUE_DESCRIPTION
        ? first
        : kernel.gpu!(params, { ...target, ...DESCRIPTIONS[name]?.(target) });
    const chosen = this.#choices[key];
    if (chosen !== undefined) return { program: describe(chosen) };
    if (busy || !this.#options.measure) return { program: first };
    let candidates = this.#candidates.get(key);
    if (!candidates) {
      const names = different(Object.keys(DESCRIPTIONS), describe);
      candidates = { names, times: names.map(() => []), launches: 0 };
      if (names.length === 1) {
        this.#settle(key, names[0]!);
        return { program: first };
      }
      this.#candidates.set(key, candidates);
    }
    const candidate = candidates.launches++ % candidates.names.length;
    const label = `${this.#labels++} ${key}`;
    this.#timed.set(label, { key, candidate, flops });
    this.#timer ??= new GpuTimer(this.#options.gpu);
    return { program: describe(candidates.names[candidate]!), label };
  }

  /** Reads the times of submitted launches, and chooses where there are enough. */
  async collect(
    read: (regions: GpuRegion[]) => Promise<Uint8Array<ArrayBuffer>[]>,
  ): Promise<void> {
    if (!this.#timer || this.#timed.size === 0) return;
    const times = new Map<string, number>();
    // A launch in parts is two under one label.
    for (const [label, milliseconds] of await this.#timer.take(read)) {
      times.set(label, (times.get(label) ?? 0) + milliseconds);
    }
    for (const [label, milliseconds] of times) {
      const launch = this.#timed.get(label);
      this.#timed.delete(label);
      const candidates = launch && this.#candidates.get(launch.key);
      if (!candidates) continue;
      candidates.times[launch.candidate]!.push(milliseconds / launch.flops * 1e9);
      if (candidates.times.some(({ length }) => length < ROUNDS)) continue;
      const medians = candidates.times.map(median);
      this.#settle(launch.key, candidates.names[medians.indexOf(Math.min(...medians))]!);
    }
  }

  #settle(key: string, name: string): void {
    this.#choices[key] = name;
    this.#candidates.delete(key);
    this.#options.onChoice?.(this.choices);
  }
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

/** Kernel, dtypes, constants, and sizes rounded to powers of two. */
function keyOf(
  name: string,
  dtypes: Readonly<Record<string, DType>>,
  { workgroups, flops = 0, constants }: GpuProgram,
): string {
  const sizes = [...typeof workgroups === "number" ? [workgroups] : workgroups, flops];
  const powers = sizes.map((size = 1) => Math.round(Math.log2(Math.max(1, size))));
  return `${name} ${Object.values(dtypes)} ${Object.values(constants ?? {})} ${powers}`;
}

/** The names that lead to programs no earlier one leads to. */
function different(
  names: readonly string[],
  describe: (name: string) => GpuProgram,
): string[] {
  const programs = new Set<string>();
  return names.filter((name) => {
    const { wgsl, constants, vec4, workgroups } = describe(name);
    const before = programs.size;
    programs.add(JSON.stringify([wgsl, constants, vec4, workgroups]));
    return programs.size > before;
  });
}

/** Raise the number when programs change in a way that makes old choices meaningless. */
const STORAGE = "dinograd programs 2";

/** The choices of earlier runs for an adapter and compiler, if the runtime has `localStorage`. */
export function storedChoices(place: string): ProgramChoices {
  try {
    return JSON.parse(localStorage.getItem(`${STORAGE} ${place}`) ?? "{}");
  } catch {
    return {};
  }
}

/** Saves choices for later runs, if the runtime has `localStorage`. */
export function storeChoices(place: string, choices: ProgramChoices): void {
  try {
    localStorage.setItem(`${STORAGE} ${place}`, JSON.stringify(choices));
  } catch {
    // There is none, or it is full: this run has its choices in memory.
  }
}
