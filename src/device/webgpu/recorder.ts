/**
 * Records launches and copies into one command encoder and submits them in batches. The data that a batch needs from
 * the host (parameters of launches, small writes) is gathered in one arena, which is uploaded once per submit.
 *
 * @module
 */
import { DeviceError } from "../errors.ts";
import type { Faults } from "./faults.ts";
import { BufferUsage } from "./flags.ts";
import { MAX_SUBMIT, type Pace } from "./pace.ts";

/** The size of the arena in bytes. */
const ARENA = 256 * 1024;
/** Maximum launches of the first batch after a wait, small so that the GPU starts early, and of later ones. */
const FIRST_BATCH = 16;
const FULL_BATCH = 256;

/** Records commands and submits them. */
export class Recorder {
  /** The number of the current batch. An allocation with this `batch` is used by launches not yet submitted. */
  batch = 1;
  /** Called with the encoder before a batch with launches is finished. */
  beforeFinish: (encoder: GPUCommandEncoder) => void = () => {};
  /** The buffer of the arena: uniforms of launches, and sources of small copies. */
  readonly arena: GPUBuffer;

  #device: GPUDevice;
  #faults: Faults;
  #host = new ArrayBuffer(ARENA);
  #bytes = new Uint8Array(this.#host);
  #view = new DataView(this.#host);
  #used = 0;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #pipeline: GPUComputePipeline | undefined;
  #names: string[] = [];
  #room = FIRST_BATCH;
  #alignment: number;
  #pace: Pace;
  /** Estimated milliseconds of this batch, and of all batches since the device was last idle. */
  #milliseconds = 0;
  #submitted = 0;
  #busySince = 0;

  constructor(device: GPUDevice, faults: Faults, pace: Pace) {
    this.#device = device;
    this.#faults = faults;
    this.#pace = pace;
    this.#alignment = device.limits.minUniformBufferOffsetAlignment;
    this.arena = device.createBuffer({
      label: "dinograd arena",
      size: ARENA,
      usage: BufferUsage.UNIFORM | BufferUsage.COPY_SRC | BufferUsage.COPY_DST,
    });
  }

  /**
   * Ensures that the next {@linkcode place} of `bytes` and the launch after it, which takes an estimated
   * `milliseconds`, are in the same batch.
   */
  reserve(bytes: number, milliseconds = 0): void {
    const full = this.#used + bytes + this.#alignment > ARENA || this.#names.length >= this.#room;
    const long = this.#milliseconds > 0 && this.#milliseconds + milliseconds > MAX_SUBMIT;
    if (full || long) this.flush();
    this.#milliseconds += milliseconds;
  }

  /** Reserves `bytes` in the arena of this batch. Returns the offset, and views of the arena to write to. */
  place(bytes: number): { offset: number; view: DataView; bytes: Uint8Array } {
    const offset = Math.ceil(this.#used / this.#alignment) * this.#alignment;
    this.#used = offset + bytes;
    return { offset, view: this.#view, bytes: this.#bytes };
  }

  /** Records one dispatch. With `timestamps`, it gets its own pass. */
  dispatch(
    name: string,
    pipeline: GPUComputePipeline,
    bindGroup: GPUBindGroup,
    dynamicOffset: number | undefined,
    workgroups: readonly [number, number, number],
    timestamps?: GPUComputePassTimestampWrites,
  ): void {
    if (timestamps) this.#endPass();
    if (!this.#pass) {
      this.#pass = this.#open().beginComputePass({
        label: timestamps ? name : "launches",
        ...(timestamps && { timestampWrites: timestamps }),
      });
      this.#pipeline = undefined;
    }
    if (this.#pipeline !== pipeline) {
      this.#pass.setPipeline(pipeline);
      this.#pipeline = pipeline;
    }
    this.#pass.setBindGroup(0, bindGroup, dynamicOffset === undefined ? [] : [dynamicOffset]);
    this.#pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
    if (timestamps) this.#endPass();
    this.#names.push(name);
  }

  /** The encoder, outside any pass, to record copies. */
  copies(): GPUCommandEncoder {
    this.#endPass();
    return this.#open();
  }

  /** Submits what was recorded to the GPU. */
  flush(): void {
    if (!this.#encoder) return;
    this.#endPass();
    this.beforeFinish(this.#encoder);
    const commands = this.#encoder.finish();
    if (this.#used > 0) {
      const length = Math.ceil(this.#used / 4) * 4;
      this.#device.queue.writeBuffer(this.arena, 0, this.#host, 0, length);
    }
    this.#device.queue.submit([commands]);
    if (this.#submitted === 0) this.#busySince = performance.now();
    this.#submitted += this.#milliseconds;
    this.#milliseconds = 0;
    const names = this.#names;
    this.#faults.watch(this.#device.popErrorScope(), (error) => {
      const kernels = [...new Set(names)];
      const listed = kernels.slice(0, 12).join(", ") + (kernels.length > 12 ? ", ..." : "");
      return new DeviceError(
        `The GPU refused a batch of launches (${listed || "copies only"}): ${error.message.trim()}`,
      );
    });
    this.#encoder = undefined;
    this.#used = 0;
    this.#names = [];
    this.#room = Math.min(this.#room * 2, FULL_BATCH);
    this.batch++;
  }

  /** Called when the device has become idle: the next batch is a small one. */
  idle(): void {
    this.#room = FIRST_BATCH;
    this.#pace.measured(this.#submitted, performance.now() - this.#busySince);
    this.#submitted = 0;
  }

  #open(): GPUCommandEncoder {
    if (!this.#encoder) {
      this.#device.pushErrorScope("validation");
      this.#encoder = this.#device.createCommandEncoder({ label: "dinograd batch" });
    }
    return this.#encoder;
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }
}
