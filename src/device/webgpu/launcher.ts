/**
 * Turns a kernel's launch into a dispatch: checks and binds its buffers, compiles its program, fills in its
 * parameters.
 *
 * @module
 */
import type { Binding, DeviceBuffer } from "../device.ts";
import { BYTES, type DType } from "../dtype.ts";
import { DeviceError } from "../errors.ts";
import {
  type GpuProgram,
  type GpuTarget,
  type Kernel,
  MAX_ITERATIONS,
  type Params,
} from "../kernel.ts";
import type { Bindings } from "../splitting.ts";
import type { Allocation } from "./buffer_pool.ts";
import type { Faults } from "./faults.ts";
import type { GpuTimer } from "./gpu_timer.ts";
import { BindGroups, type BoundRange, type Layout, Pipelines } from "./pipelines.ts";
import type { Recorder } from "./recorder.ts";

/** What a {@linkcode Launcher} needs to know of its device. */
export interface LauncherOptions {
  readonly gpu: GPUDevice;
  readonly faults: Faults;
  readonly recorder: Recorder;
  readonly description: string;
  readonly dtypes: ReadonlySet<DType>;
  readonly bindingAlignment: number;
  /** What kernels are told. */
  readonly target: Omit<GpuTarget, "dtypes">;
  /** The most workgroups in each dimension. */
  readonly mostWorkgroups: number;
  /** Whether programs with subgroup operations need the language's `enable` line. */
  readonly enableSubgroups: boolean;
  /** The allocation and length of a buffer; throws, with `what` in front, when it is not to be used. */
  inUse(buffer: DeviceBuffer, what: string): { allocation: Allocation; bytes: number };
}

/** See the module's text. */
export class Launcher {
  /** Times launches while it is set. */
  timer: GpuTimer | undefined;

  #options: LauncherOptions;
  #recorder: Recorder;
  #pipelines: Pipelines;
  #bindGroups: BindGroups;
  #empty: Allocation[] = [];

  constructor(options: LauncherOptions) {
    const { gpu, faults, recorder, enableSubgroups } = options;
    this.#options = options;
    this.#recorder = recorder;
    this.#pipelines = new Pipelines(gpu, faults, enableSubgroups);
    this.#bindGroups = new BindGroups(gpu, recorder.arena);
  }

  /** Drops the bind groups of a buffer that is about to be destroyed. */
  forget(allocation: Allocation): void {
    this.#bindGroups.forget(allocation);
  }

  /** Records one launch that needs no splitting. */
  launch<P extends Params>(kernel: Kernel<P>, bindings: Bindings, params: P): void {
    const layout = this.#pipelines.layout(kernel);
    const dtypes: Record<string, DType> = {};
    let written = 0;
    let elements = 0;
    for (let i = 0; i < layout.slots.length; i++) {
      const { name } = layout.slots[i];
      const binding = bindings[name];
      if (!binding) continue;
      dtypes[name] = binding.dtype;
      if (layout.writes[i]) {
        written++;
        elements += binding.size;
      }
    }
    const ranges = this.#bind(kernel, layout, bindings);
    if (written > 0 && elements === 0) return;
    const program = kernel.gpu(params, { dtypes, ...this.#options.target });
    const workgroups = this.#workgroups(kernel.name, program);
    const { iterations = 0 } = program;
    if (this.#options.target.software && iterations > MAX_ITERATIONS) {
      throw new DeviceError(
        `${kernel.name}: expected at most ${MAX_ITERATIONS} loop iterations of an invocation, as software ` +
          `adapters end loops early, but got ${iterations} for ${JSON.stringify(params)}`,
      );
    }
    if (workgroups[0] === 0 || workgroups[1] === 0 || workgroups[2] === 0) return;
    const recorder = this.#recorder;
    const pipeline = this.#pipelines.pipeline(
      kernel,
      params,
      program,
      dtypes,
      () => recorder.flush(),
    );
    const group = this.#bindGroups.get(kernel.name, layout, ranges);
    recorder.reserve(layout.uniformBytes);
    if (this.timer?.full) recorder.flush();
    const uniform = layout.uniformBytes > 0
      ? this.#uniform(kernel.name, layout, params)
      : undefined;
    const timestamps = this.timer?.next(kernel.name);
    recorder.dispatch(kernel.name, pipeline.gpu, group, uniform, workgroups, timestamps);
    for (const { allocation } of ranges) allocation.batch = recorder.batch;
  }

  /** The byte ranges of a launch's bindings, checked. */
  // deno-lint-ignore no-explicit-any -- kernels of any parameters
  #bind(kernel: Kernel<any>, layout: Layout, bindings: Bindings): BoundRange[] {
    const ranges: BoundRange[] = [];
    let written = 0;
    for (let i = 0; i < layout.slots.length; i++) {
      const { name, optional } = layout.slots[i];
      const binding = bindings[name];
      const write = layout.writes[i];
      if (!binding && !optional) {
        throw new DeviceError(`Kernel "${kernel.name}": binding "${name}" is missing`);
      }
      if (!binding || binding.size === 0) {
        const allocation = this.#emptyAllocation(write ? ++written : 0);
        ranges.push({ allocation, offset: 0, bytes: allocation.bytes });
        continue;
      }
      const range = this.#range(kernel.name, name, binding);
      for (let j = 0; j < i; j++) {
        if (ranges[j].allocation !== range.allocation) continue;
        const other = ranges[j];
        const overlap = range.offset < other.offset + other.bytes &&
          other.offset < range.offset + range.bytes;
        if (write !== layout.writes[j] || (write && overlap)) {
          const before = layout.slots[j].name;
          throw new DeviceError(
            `Kernel "${kernel.name}": bindings "${before}" and "${name}" are the same buffer, ` +
              `and "${write ? name : before}" is written`,
          );
        }
      }
      ranges.push(range);
    }
    for (const name in bindings) {
      if (!(name in kernel.bindings)) {
        throw new DeviceError(`Kernel "${kernel.name}" has no binding "${name}"`);
      }
    }
    return ranges;
  }

  #range(kernel: string, name: string, binding: Binding): BoundRange {
    const what = `Kernel "${kernel}": binding "${name}"`;
    const { allocation, bytes } = this.#options.inUse(binding.buffer, what);
    const size = BYTES[binding.dtype];
    const offset = binding.offset * size;
    if (!this.#options.dtypes.has(binding.dtype)) {
      throw new DeviceError(
        `${what} is ${binding.dtype}, which ${this.#options.description} does not have`,
      );
    }
    if (offset + binding.size * size > bytes) {
      throw new DeviceError(
        `${what} spans elements ${binding.offset} to ${binding.offset + binding.size} ` +
          `of a buffer of ${bytes} bytes`,
      );
    }
    if (offset % this.#options.bindingAlignment !== 0) {
      throw new DeviceError(
        `${what} starts at byte ${offset} (element ${binding.offset}), ` +
          `not a multiple of ${this.#options.bindingAlignment} as this device needs`,
      );
    }
    // 16 bytes at least, so that a program may see the elements as vec4; the allocation has them.
    const length = Math.max(16, Math.ceil(binding.size * size / 4) * 4);
    return { allocation, offset, bytes: Math.min(length, allocation.bytes - offset) };
  }

  #workgroups(kernel: string, program: GpuProgram): [number, number, number] {
    const most = this.#options.mostWorkgroups;
    const asked = program.workgroups;
    let groups: [number, number, number];
    if (typeof asked === "number") {
      const rows = Math.ceil(asked / most) || 0;
      groups = rows <= 1 ? [asked, 1, 1] : [Math.ceil(asked / rows), rows, 1];
    } else {
      groups = [asked[0], asked[1] ?? 1, asked[2] ?? 1];
    }
    for (const count of groups) {
      if (!(Number.isInteger(count) && count >= 0 && count <= most)) {
        throw new DeviceError(
          `Kernel "${kernel}" asks for ${asked} workgroups; ` +
            `each dimension takes a whole number up to ${most}`,
        );
      }
    }
    return groups;
  }

  #uniform(kernel: string, layout: Layout, params: Params): number {
    const what = `Kernel "${kernel}": parameter`;
    const { offset, view } = this.#recorder.place(layout.uniformBytes);
    for (let i = 0; i < layout.params.length; i++) {
      const [name, type] = layout.params[i];
      const value = params[name];
      const at = offset + 4 * i;
      if (type === "f32" && typeof value === "number") view.setFloat32(at, value, true);
      else if (type === "u32" && value >>> 0 === value) view.setUint32(at, value, true);
      else if (type === "i32" && (value | 0) === value) view.setInt32(at, value, true);
      else throw new DeviceError(`${what} "${name}" is ${value}, not ${type}`);
    }
    return offset;
  }

  /** A few bytes for what is not given: zeros at 0, others for what a launch may write. */
  #emptyAllocation(index: number): Allocation {
    return this.#empty[index] ??= {
      id: -index,
      gpu: this.#options.gpu.createBuffer({
        label: "dinograd empty",
        size: 256,
        usage: GPUBufferUsage.STORAGE,
      }),
      bytes: 256,
      batch: 0,
      bindGroups: new Set(),
      released: 0,
    };
  }
}
