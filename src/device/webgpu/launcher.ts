/**
 * Turns a checked launch of a kernel into a dispatch: binds its buffers, compiles its program, and fills in its
 * parameters.
 *
 * @module
 */
import { spanOf } from "../check_launch.ts";
import type { Binding, Device, DeviceBuffer } from "../device.ts";
import { BYTES, type DType } from "../dtype.ts";
import { DeviceError } from "../errors.ts";
import {
  type GpuProgram,
  type GpuTarget,
  type Kernel,
  MAX_ITERATIONS,
  type Params,
  type ProgramParts,
} from "../kernel.ts";
import { sizeOfAxes } from "../kernel_spec.ts";
import type { Bindings } from "../splitting.ts";
import type { Allocation } from "./buffer_pool.ts";
import type { Faults } from "./faults.ts";
import type { GpuTimer } from "./gpu_timer.ts";
import type { Pace } from "./pace.ts";
import { BindGroups, type BoundRange, type Layout, Pipelines } from "./pipelines.ts";
import type { Recorder } from "./recorder.ts";
import type { Tuner } from "./tuner.ts";
import { BufferUsage } from "./flags.ts";

/** What a {@linkcode Launcher} needs from its device. */
export interface LauncherOptions {
  readonly gpu: GPUDevice;
  readonly faults: Faults;
  readonly recorder: Recorder;
  readonly pace: Pace;
  /** What kernels know about the GPU. */
  readonly target: Omit<GpuTarget, "dtypes">;
  /** Maximum number of workgroups in each dimension. */
  readonly maxWorkgroups: number;
  /** As in `WebGpuOptions`. */
  readonly onCompile?: ((kernel: string, count: number) => void) | undefined;
  /** Whether programs with subgroup operations need the language's `enable` line. */
  readonly enableSubgroups: boolean;
  /** The device, for the memory of parts. */
  readonly device: Pick<Device, "createBuffer" | "releaseBuffer">;
  /** The allocation of a buffer of the device. */
  allocationOf(buffer: DeviceBuffer): Allocation;
}

/** Records launches as dispatches. */
export class Launcher {
  /** Times launches while it is set. */
  timer: GpuTimer | undefined;
  /** Chooses programs while it is set. */
  tuner: Tuner | undefined;

  #options: LauncherOptions;
  /** One object for all launches, since kernels do not keep it. */
  #target: { dtypes: Record<string, DType> } & LauncherOptions["target"];
  #recorder: Recorder;
  #pipelines: Pipelines;
  #bindGroups: BindGroups;
  #empty: Allocation[] = [];
  #compiled = 0;

  constructor(options: LauncherOptions) {
    const { gpu, faults, recorder, enableSubgroups } = options;
    this.#options = options;
    this.#target = { dtypes: {}, ...options.target };
    this.#recorder = recorder;
    this.#pipelines = new Pipelines(gpu, faults, enableSubgroups);
    this.#bindGroups = new BindGroups(gpu, recorder.arena);
  }

  /** Drops the bind groups of a buffer that is about to be destroyed. */
  forget(allocation: Allocation): void {
    this.#bindGroups.forget(allocation);
  }

  /** Records a launch that was checked (`checkLaunch`) and needs no splitting. */
  launch<P extends Params>(kernel: Kernel<P>, bindings: Bindings, params: P): void {
    if (!kernel.gpu) {
      throw new TypeError(
        `${kernel.name}: expected a kernel with a GPU program but got one for the CPU`,
      );
    }
    if (isEmpty(kernel, bindings)) return;
    this.#target.dtypes = dtypesOf(kernel, bindings);
    const { program, label } = this.#program(kernel, params);
    const { parts } = program;
    if (parts) this.#launchParts(kernel, program, parts, bindings, label);
    else this.#dispatch(kernel, program, bindings, params, label);
  }

  /** Launches a program that computes parts, and the kernel that adds them up. */
  #launchParts<P extends Params>(
    kernel: Kernel<P>,
    program: GpuProgram,
    { params, sum, sumParams, partials }: ProgramParts,
    bindings: Bindings,
    label: string | undefined,
  ): void {
    const own: Record<string, Binding | undefined> = {};
    const ofSum: Record<string, Binding | undefined> = {};
    for (const name in bindings) (name in sum.bindings ? ofSum : own)[name] = bindings[name];
    const buffers: DeviceBuffer[] = [];
    for (const { name, axes } of sum.slots) {
      const output = Object.keys(partials).find((output) => partials[output] === name);
      if (output === undefined || !bindings[output]) continue;
      const shape = axes(sumParams);
      const size = sizeOfAxes(shape, sumParams);
      const buffer = this.#options.device.createBuffer(
        size * BYTES.f32,
        () => `${kernel.name}: partial sums (${shape.map((axis) => sumParams[axis]).join(", ")})`,
      );
      buffers.push(buffer);
      own[output] = ofSum[name] = { buffer, dtype: "f32", offset: 0, size };
    }
    this.#target.dtypes = dtypesOf(kernel, own);
    this.#dispatch(kernel, program, own, params, label);
    this.#target.dtypes = dtypesOf(sum, ofSum);
    this.#dispatch(sum, sum.gpu!(sumParams, this.#target), ofSum, sumParams, label);
    for (const buffer of buffers) this.#options.device.releaseBuffer(buffer);
  }

  /** Records the launch of a program, timed under a label if the tuner measures it. */
  #dispatch<P extends Params>(
    kernel: Kernel<P>,
    program: GpuProgram,
    bindings: Bindings,
    params: Params,
    label: string | undefined,
  ): void {
    const layout = this.#pipelines.layout(kernel);
    const ranges = this.#bind(layout, bindings);
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
      this.#target.dtypes,
      () => {
        recorder.flush(); // the GPU works meanwhile
        this.#options.onCompile?.(kernel.name, ++this.#compiled);
      },
    );
    const group = this.#bindGroups.get(kernel.name, layout, ranges);
    let bytes = 0;
    for (const range of ranges) bytes += range.bytes;
    const timer = label === undefined ? this.timer : this.tuner?.timer;
    if (timer?.full) recorder.flush();
    recorder.reserve(layout.uniformBytes, this.#options.pace.estimate(program.flops ?? 0, bytes));
    const uniform = layout.uniformBytes > 0 ? this.#uniform(layout, params) : undefined;
    const timestamps = timer?.next(label ?? kernel.name);
    recorder.dispatch(kernel.name, pipeline.gpu, group, uniform, workgroups, timestamps);
    for (const { allocation } of ranges) allocation.batch = recorder.batch;
  }

  /** The program of a launch, and the label to time it by if the tuner measures it. */
  #program<P extends Params>(
    kernel: Kernel<P>,
    params: P,
  ): { program: GpuProgram; label?: string } {
    const first = kernel.gpu!(params, this.#target);
    if (!this.tuner) return { program: first };
    return this.tuner.choose(kernel, params, this.#target, first, this.timer !== undefined);
  }

  /** The byte ranges of a launch's bindings. */
  #bind(layout: Layout, bindings: Bindings): BoundRange[] {
    let empty = 0;
    return layout.slots.map(({ name }, i) => {
      const binding = bindings[name];
      if (!binding || binding.size === 0) {
        const allocation = this.#emptyAllocation(layout.writes[i] ? ++empty : 0);
        return { allocation, offset: 0, bytes: allocation.bytes };
      }
      const allocation = this.#options.allocationOf(binding.buffer);
      const offset = binding.offset * BYTES[binding.dtype];
      return { allocation, offset, bytes: Math.min(spanOf(binding), allocation.bytes - offset) };
    });
  }

  #workgroups(kernel: string, program: GpuProgram): [number, number, number] {
    const max = this.#options.maxWorkgroups;
    const asked = program.workgroups;
    let groups: [number, number, number];
    if (typeof asked === "number") {
      const rows = Math.ceil(asked / max) || 0;
      groups = rows <= 1 ? [asked, 1, 1] : [Math.ceil(asked / rows), rows, 1];
    } else {
      groups = [asked[0], asked[1] ?? 1, asked[2] ?? 1];
    }
    for (const count of groups) {
      if (!(Number.isInteger(count) && count >= 0 && count <= max)) {
        throw new DeviceError(
          `kernel "${kernel}": expected at most ${max} workgroups in each dimension but got ${asked}`,
        );
      }
    }
    return groups;
  }

  #uniform(layout: Layout, params: Params): number {
    const { offset, view } = this.#recorder.place(layout.uniformBytes);
    const { params: fields } = layout;
    for (let i = 0; i < fields.length; i++) {
      const [name, type] = fields[i]!;
      const at = offset + 4 * i;
      if (type === "f32") view.setFloat32(at, params[name]!, true);
      else if (type === "u32") view.setUint32(at, params[name]!, true);
      else view.setInt32(at, params[name]!, true);
    }
    return offset;
  }

  /**
   * A few zero bytes for omitted bindings. Those that the launch may write to each get their own, with an index above
   * 0.
   */
  #emptyAllocation(index: number): Allocation {
    return this.#empty[index] ??= {
      id: -index,
      gpu: this.#options.gpu.createBuffer({
        label: "dinograd empty",
        size: 256,
        usage: BufferUsage.STORAGE,
      }),
      bytes: 256,
      batch: 0,
      bindGroups: new Set(),
      released: 0,
    };
  }
}

/** The dtypes of the given bindings, in the kernel's order. */
function dtypesOf<P extends Params>(
  { slots }: Kernel<P>,
  bindings: Bindings,
): Record<string, DType> {
  const dtypes: Record<string, DType> = {};
  for (const { name } of slots) {
    const binding = bindings[name];
    if (binding) dtypes[name] = binding.dtype;
  }
  return dtypes;
}

/** Whether a launch writes bindings, but no elements. */
function isEmpty<P extends Params>({ slots }: Kernel<P>, bindings: Bindings): boolean {
  let written = 0;
  for (const { name, access } of slots) {
    const binding = access === "read" ? undefined : bindings[name];
    if (!binding) continue;
    if (binding.size > 0) return false;
    written++;
  }
  return written > 0;
}
