/**
 * Compiled kernels, their layouts and bind groups, each created once.
 *
 * @module
 */
import { ShaderStage } from "./flags.ts";
import { DeviceError } from "../errors.ts";
import type { DType } from "../dtype.ts";
import type { GpuProgram, Kernel, Params } from "../kernel.ts";
import { type BindingSlot, wgslHeader } from "../kernel_spec.ts";
import { specialise } from "../template.ts";
import type { Allocation } from "./buffer_pool.ts";
import type { Faults } from "./faults.ts";

/** What all launches of a kernel share. */
export interface Layout {
  /** The storage bindings in order. */
  readonly slots: readonly BindingSlot[];
  /** Whether each binding is written. */
  readonly writes: readonly boolean[];
  /** The uniform struct's fields in order. */
  readonly params: readonly (readonly [name: string, type: "u32" | "i32" | "f32"])[];
  /** Bytes of the uniform struct, 0 if there is none. */
  readonly uniformBytes: number;
  /** Identifies the layout. */
  readonly key: string;
  readonly group: GPUBindGroupLayout;
  readonly pipeline: GPUPipelineLayout;
}

/** A compiled program. */
export interface Pipeline {
  readonly gpu: GPUComputePipeline;
  /** Why it cannot be used, once known. */
  error?: DeviceError;
}

/** A storage binding of one launch, in bytes. */
export interface BoundRange {
  readonly allocation: Allocation;
  readonly offset: number;
  readonly bytes: number;
}

/**
 * Prepended to programs with subgroup operations if the compiler is Tint, which cannot see that a bound may be uniform
 * within a subgroup but not within a workgroup, and would reject the loop.
 */
const SUBGROUPS = "enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n";

/** Maximum number of bind groups kept; otherwise, shapes that change with every launch would pile them up. */
const MAX_BIND_GROUPS = 16384;

/** Compiles kernels. */
export class Pipelines {
  #device: GPUDevice;
  #faults: Faults;
  #enableSubgroups: boolean;
  #layouts = new WeakMap<object, Layout>();
  #shared = new Map<string, { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>();
  #pipelines = new Map<string, Map<string, Pipeline>>();

  constructor(device: GPUDevice, faults: Faults, enableSubgroups: boolean) {
    this.#device = device;
    this.#faults = faults;
    this.#enableSubgroups = enableSubgroups;
  }

  /** The layout for a kernel's declaration. */
  // deno-lint-ignore no-explicit-any -- kernels of any parameters
  layout(kernel: Kernel<any>): Layout {
    let layout = this.#layouts.get(kernel);
    if (!layout) {
      const writes = kernel.slots.map(({ access }) => access !== "read");
      const params = Object.entries(kernel.params);
      const uniformBytes = Math.ceil(params.length * 4 / 16) * 16;
      const key = `${writes.map((write) => write ? "w" : "r").join("")}${uniformBytes}`;
      layout = {
        slots: kernel.slots,
        writes,
        params,
        uniformBytes,
        key,
        ...this.#share(key, writes, uniformBytes),
      };
      this.#layouts.set(kernel, layout);
    }
    return layout;
  }

  /** The compiled program for bindings of these dtypes. `beforeCompile` is called if it has to be compiled first. */
  pipeline(
    // deno-lint-ignore no-explicit-any -- kernels of any parameters
    kernel: Kernel<any>,
    params: Params,
    program: GpuProgram,
    dtypes: Readonly<Record<string, DType>>,
    beforeCompile: () => void,
  ): Pipeline {
    let variants = this.#pipelines.get(program.wgsl);
    if (!variants) this.#pipelines.set(program.wgsl, variants = new Map());
    let key = `${kernel.name} ${program.vec4 ?? false}`;
    for (const { name } of kernel.slots) key += ` ${dtypes[name]}`;
    for (const constant in program.constants) key += ` ${constant}=${program.constants[constant]}`;
    let pipeline = variants.get(key);
    if (!pipeline) {
      beforeCompile();
      variants.set(key, pipeline = this.#compile(kernel, params, program, dtypes));
    }
    if (pipeline.error) throw pipeline.error;
    return pipeline;
  }

  #share(
    key: string,
    writes: boolean[],
    uniformBytes: number,
  ): { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout } {
    let shared = this.#shared.get(key);
    if (!shared) {
      const entries: GPUBindGroupLayoutEntry[] = writes.map((write, binding) => ({
        binding,
        visibility: ShaderStage.COMPUTE,
        buffer: { type: write ? "storage" : "read-only-storage" },
      }));
      if (uniformBytes > 0) {
        // With its size in the layout, the uniform is checked once. Without it, wgpu 29 rejected dispatches after a
        // kernel with a smaller uniform, as if that one's were still bound.
        entries.push({
          binding: writes.length,
          visibility: ShaderStage.COMPUTE,
          buffer: { type: "uniform", hasDynamicOffset: true, minBindingSize: uniformBytes },
        });
      }
      const group = this.#device.createBindGroupLayout({ label: key, entries });
      const pipeline = this.#device.createPipelineLayout({ label: key, bindGroupLayouts: [group] });
      this.#shared.set(key, shared = { group, pipeline });
    }
    return shared;
  }

  #compile(
    // deno-lint-ignore no-explicit-any -- kernels of any parameters
    kernel: Kernel<any>,
    params: Params,
    program: GpuProgram,
    dtypes: Readonly<Record<string, DType>>,
  ): Pipeline {
    const { name } = kernel;
    const layout = this.layout(kernel);
    const constants = JSON.stringify({ ...dtypes, ...program.constants });
    let code: string;
    try {
      code = specialise(
        wgslHeader(kernel, params, dtypes, program.vec4) + program.wgsl,
        program.constants,
      );
    } catch (error) {
      throw new DeviceError(
        `kernel "${name}" with ${constants}: ${error instanceof Error ? error.message : error}`,
      );
    }
    if (this.#enableSubgroups && /\bsubgroup\w+\(/.test(code)) code = SUBGROUPS + code;
    if (/\bsubgroupMatrix\w+[<(]/.test(code)) {
      code = "enable chromium_experimental_subgroup_matrix;\n" +
        // Tint cannot tell that the invocations of a subgroup take the same path.
        `diagnostic(off, chromium.subgroup_matrix_uniformity);\n${code}`;
    }
    const device = this.#device;
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ label: name, code });
    const gpu = device.createComputePipeline({
      label: name,
      layout: layout.pipeline,
      compute: { module },
    });
    const pipeline: Pipeline = { gpu };
    this.#faults.watch(device.popErrorScope(), (error) => {
      pipeline.error = new DeviceError(
        `kernel "${name}" with ${constants} does not compile: ${error.message.trim()}` +
          surroundings(code, error.message),
      );
      return pipeline.error;
    });
    return pipeline;
  }
}

/** A cache of bind groups. The most recently created are kept. */
export class BindGroups {
  #device: GPUDevice;
  #arena: GPUBuffer;
  #groups = new Map<string, { group: GPUBindGroup; ranges: readonly BoundRange[] }>();

  constructor(device: GPUDevice, arena: GPUBuffer) {
    this.#device = device;
    this.#arena = arena;
  }

  /** The number of bind groups. */
  get size(): number {
    return this.#groups.size;
  }

  /** The bind group for these ranges. */
  get(name: string, layout: Layout, ranges: readonly BoundRange[]): GPUBindGroup {
    let key = layout.key;
    for (const { allocation, offset, bytes } of ranges) {
      key += `,${allocation.id}:${offset}:${bytes}`;
    }
    const known = this.#groups.get(key);
    if (known) return known.group;
    const entries: GPUBindGroupEntry[] = ranges.map(({ allocation, offset, bytes }, binding) => ({
      binding,
      resource: { buffer: allocation.gpu, offset, size: bytes },
    }));
    if (layout.uniformBytes > 0) {
      const resource = { buffer: this.#arena, size: layout.uniformBytes };
      entries.push({ binding: ranges.length, resource });
    }
    const group = this.#device.createBindGroup({ label: name, layout: layout.group, entries });
    if (this.#groups.size >= MAX_BIND_GROUPS) this.#drop(this.#groups.keys().next().value!);
    this.#groups.set(key, { group, ranges });
    for (const { allocation } of ranges) allocation.bindGroups.add(key);
    return group;
  }

  /** Drops the bind groups that contain an allocation. */
  forget(allocation: Allocation): void {
    for (const key of [...allocation.bindGroups]) this.#drop(key);
  }

  #drop(key: string): void {
    for (const { allocation } of this.#groups.get(key)?.ranges ?? []) {
      allocation.bindGroups.delete(key);
    }
    this.#groups.delete(key);
  }
}

/** The lines of the generated program around the position in a compiler's message. */
function surroundings(code: string, message: string): string {
  const place = /wgsl:(\d+):\d+/.exec(message) ?? /:(\d+):\d+/.exec(message);
  if (!place) return "";
  const line = Number(place[1]);
  const from = Math.max(1, line - 3);
  const lines = code.split("\n").slice(from - 1, line + 3);
  return "\nThe program there, with its constants filled in:\n" +
    lines.map((text, i) => `${from + i === line ? ">" : " "} ${from + i} | ${text}`).join("\n");
}
