/**
 * A GPU with WebGPU's interface that computes nothing, holds no memory and counts what it is asked for: the launches
 * of a model of any size, and what recording them costs the host. What is read from it is 0.
 *
 * @module
 */

/** What a {@linkcode StubGpu} was asked for since {@linkcode StubGpu.reset}. */
export interface StubCounts {
  /** Dispatches by the label of their pipeline, which is the kernel's name. */
  readonly launches: Map<string, number>;
  /** Bytes of the storage bindings of all dispatches. */
  boundBytes: number;
  /** Copies between buffers. */
  copies: number;
  /** Compute passes. */
  passes: number;
  /** Command buffers submitted. */
  submits: number;
  /** Bind groups made. */
  bindGroups: number;
}

interface StubBuffer {
  readonly size: number;
  readonly uniform: boolean;
}

interface StubBinding {
  readonly buffer: StubBuffer;
  readonly offset?: number;
  readonly size: number;
}

type StubGroup = { readonly bytes: number };

/** See the module's text. */
export class StubGpu {
  /** What was asked for. */
  counts: StubCounts = emptyCounts();
  /** The limits of its devices; those of an H200 in wgpu, but for what is given. */
  readonly #limits: Readonly<Record<string, number>>;

  constructor(limits: Readonly<Record<string, number>> = {}) {
    this.#limits = { ...LIMITS, ...limits };
  }

  /** Counts afresh. */
  reset(): void {
    this.counts = emptyCounts();
  }

  /** Dispatches of all kernels. */
  get launches(): number {
    return this.counts.launches.values().reduce((sum, count) => sum + count, 0);
  }

  /** For `WebGpuDevice.open({ gpu })`. */
  get gpu(): GPU {
    const adapter = {
      info: { description: "stub", subgroupMinSize: 32, subgroupMaxSize: 32 },
      features: new Set(["shader-f16", "subgroups"]),
      limits: this.#limits,
      requestDevice: () => Promise.resolve(this.#device()),
    };
    return { requestAdapter: () => Promise.resolve(adapter) } as unknown as GPU;
  }

  #device(): GPUDevice {
    const noError = Promise.resolve(null);
    return {
      features: new Set(["shader-f16", "subgroups"]),
      limits: this.#limits,
      lost: new Promise(() => {}),
      queue: {
        submit: () => void this.counts.submits++,
        writeBuffer: () => {},
        onSubmittedWorkDone: () => Promise.resolve(),
      },
      addEventListener: () => {},
      pushErrorScope: () => {},
      popErrorScope: () => noError,
      destroy: () => {},
      createBuffer: stubBuffer,
      createBindGroupLayout: () => ({}),
      createPipelineLayout: () => ({}),
      createShaderModule: () => ({}),
      createComputePipeline: ({ label }: GPUComputePipelineDescriptor) => ({ label }),
      createBindGroup: (descriptor: GPUBindGroupDescriptor) => this.#bindGroup(descriptor),
      createCommandEncoder: () => this.#encoder(),
    } as unknown as GPUDevice;
  }

  #bindGroup({ entries }: GPUBindGroupDescriptor): StubGroup {
    this.counts.bindGroups++;
    // What is bound twice, such as a tensor that holds queries, keys and values, counts once.
    const ranges = new Map<StubBuffer, Map<number, number>>();
    for (const { resource } of entries) {
      const { buffer, offset = 0, size } = resource as unknown as StubBinding;
      if (buffer.uniform) continue;
      ranges.getOrInsertComputed(buffer, () => new Map()).set(offset, size);
    }
    let bytes = 0;
    for (const sizes of ranges.values()) for (const size of sizes.values()) bytes += size;
    return { bytes };
  }

  #encoder(): unknown {
    const { counts } = this;
    let kernel = "";
    let bytes = 0;
    const pass = {
      setPipeline: ({ label }: { label: string }) => void (kernel = label),
      setBindGroup: (_: number, group: StubGroup) => void (bytes = group.bytes),
      dispatchWorkgroups: () => {
        counts.launches.set(kernel, (counts.launches.get(kernel) ?? 0) + 1);
        counts.boundBytes += bytes;
      },
      end: () => {},
    };
    return {
      beginComputePass: () => (counts.passes++, pass),
      copyBufferToBuffer: () => void counts.copies++,
      finish: () => ({}),
    };
  }
}

/** Of an NVIDIA H200 under Deno's wgpu. */
const LIMITS: Readonly<Record<string, number>> = {
  maxBufferSize: 2 ** 34,
  maxStorageBufferBindingSize: 2 ** 31 - 4,
  minStorageBufferOffsetAlignment: 32,
  minUniformBufferOffsetAlignment: 64,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeInvocationsPerWorkgroup: 1024,
  maxComputeWorkgroupSizeX: 1024,
  maxComputeWorkgroupSizeY: 1024,
  maxComputeWorkgroupSizeZ: 64,
  maxComputeWorkgroupStorageSize: 48 * 1024,
  maxComputeWorkgroupsPerDimension: 65535,
};

function emptyCounts(): StubCounts {
  return { launches: new Map(), boundBytes: 0, copies: 0, passes: 0, submits: 0, bindGroups: 0 };
}

function stubBuffer({ size, usage }: GPUBufferDescriptor): unknown {
  return {
    size,
    uniform: (usage & GPUBufferUsage.UNIFORM) !== 0,
    destroy: () => {},
    mapAsync: () => Promise.resolve(),
    getMappedRange: (_: number, bytes: number) => new ArrayBuffer(bytes),
    unmap: () => {},
  };
}
