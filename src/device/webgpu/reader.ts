/**
 * Reads parts of buffers. Under Deno, each `mapAsync` costs at least 11.5 ms, so all parts of one read are copied into
 * one staging buffer (several only above 256 MiB), and staging buffers are reused.
 *
 * @module
 */
import { BufferUsage, MapMode } from "./flags.ts";

/** A part of a GPU buffer. */
export interface GpuRegion {
  readonly buffer: GPUBuffer;
  /** First byte, a multiple of 4. */
  readonly offset: number;
  readonly bytes: number;
}

/** Longer reads go through several staging buffers. */
const CHUNK = 256 * 2 ** 20;
/** Staging buffers up to this size are kept for the next read. */
const KEPT = 2 ** 20;

interface Part {
  readonly target: number;
  readonly at: number;
  readonly source: GPUBuffer;
  readonly offset: number;
  readonly bytes: number;
}

/** Reads buffers through staging buffers. */
export class Reader {
  #device: GPUDevice;
  #chunk: number;
  #free: GPUBuffer[] = [];

  /** `chunk` is the maximum size of a staging buffer in bytes, a multiple of 4. */
  constructor(device: GPUDevice, chunk: number = CHUNK) {
    this.#device = device;
    this.#chunk = chunk;
  }

  /** Records the copies of `regions`. Call the returned function after the submit to wait for them. */
  record(
    regions: readonly GpuRegion[],
    encoder: GPUCommandEncoder,
  ): () => Promise<Uint8Array<ArrayBuffer>[]> {
    const chunks: { parts: Part[]; bytes: number }[] = [];
    regions.forEach(({ buffer, offset, bytes }, target) => {
      for (let at = 0; at < bytes;) {
        let chunk = chunks.at(-1);
        if (!chunk || chunk.bytes >= this.#chunk) chunks.push(chunk = { parts: [], bytes: 0 });
        const length = Math.min(bytes - at, this.#chunk - chunk.bytes);
        chunk.parts.push({ target, at, source: buffer, offset: offset + at, bytes: length });
        chunk.bytes += pad(length);
        at += length;
      }
    });
    const staged = chunks.map((chunk) => {
      const staging = this.#take(chunk.bytes);
      let to = 0;
      for (const part of chunk.parts) {
        const length = pad(part.bytes);
        encoder.copyBufferToBuffer(part.source, part.offset, staging, to, length);
        to += length;
      }
      return { staging, chunk };
    });
    return async () => {
      const results = regions.map(({ bytes }) => new Uint8Array(bytes));
      try {
        await Promise.all(
          staged.map(({ staging, chunk }) => staging.mapAsync(MapMode.READ, 0, chunk.bytes)),
        );
        for (const { staging, chunk } of staged) {
          const mapped = new Uint8Array(staging.getMappedRange(0, chunk.bytes));
          let from = 0;
          for (const part of chunk.parts) {
            results[part.target]!.set(mapped.subarray(from, from + part.bytes), part.at);
            from += pad(part.bytes);
          }
          staging.unmap();
        }
      } catch (error) {
        for (const { staging } of staged) staging.destroy();
        throw error;
      }
      for (const { staging } of staged) this.#give(staging);
      return results;
    };
  }

  /** Frees the staging buffers. */
  destroy(): void {
    for (const buffer of this.#free) buffer.destroy();
    this.#free = [];
  }

  #take(bytes: number): GPUBuffer {
    const fitting = this.#free.findIndex((buffer) => buffer.size >= bytes);
    if (fitting >= 0) return this.#free.splice(fitting, 1)[0]!;
    return this.#device.createBuffer({
      label: "dinograd staging",
      size: bytes > KEPT ? bytes : Math.max(4096, 2 ** Math.ceil(Math.log2(bytes))),
      usage: BufferUsage.MAP_READ | BufferUsage.COPY_DST,
    });
  }

  #give(buffer: GPUBuffer): void {
    if (buffer.size > KEPT || this.#free.length >= 8) {
      buffer.destroy();
      return;
    }
    this.#free.push(buffer);
    this.#free.sort((a, b) => a.size - b.size);
  }
}

function pad(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
