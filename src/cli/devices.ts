/** `dinograd devices`: lists the devices and how fast they are. */
import {
  add,
  CpuDevice,
  type Device,
  formatBytes,
  matmul,
  ones,
  Scope,
  WebGpuDevice,
} from "../../mod.ts";
import { print } from "./output.ts";

/** The report on a device. */
interface DeviceReport {
  readonly kind: Device["kind"];
  readonly description: string;
  readonly software?: boolean;
  readonly dtypes: readonly string[];
  readonly features?: readonly string[];
  readonly maxBufferBytes: number;
  readonly maxBindingBytes: number;
  readonly gflops?: number;
  readonly gigabytesPerSecond?: number;
}

/** Options of `devices`. */
export interface DevicesOptions {
  readonly json?: boolean;
  /** Skips the measurements. */
  readonly quick?: boolean;
  /** An implementation of WebGPU other than the runtime's. */
  readonly gpu?: "dawn";
}

/** Lists the devices. */
export async function devices(options: DevicesOptions): Promise<void> {
  const reports: DeviceReport[] = [];
  {
    using cpu = CpuDevice.open();
    reports.push(await reportOf(cpu, options.quick));
  }
  const problem = await withWebGpu(options.gpu, async (gpu) => {
    reports.push({
      ...await reportOf(gpu, options.quick),
      software: gpu.software,
      features: gpu.features,
    });
  });
  if (options.json) return print(JSON.stringify(reports, null, 2));
  for (const report of reports) print(`${text(report)}\n`);
  if (problem !== undefined) print(`WebGPU: ${problem}`);
}

/** Runs `body` with the WebGPU device, or reports why there is none. */
async function withWebGpu(
  implementation: "dawn" | undefined,
  body: (gpu: WebGpuDevice) => Promise<void>,
): Promise<string | undefined> {
  let gpu: WebGpuDevice;
  try {
    gpu = await WebGpuDevice.open({ gpu: implementation });
  } catch (error) {
    return (error as Error).message;
  }
  using _gpu = gpu;
  await body(gpu);
  return undefined;
}

async function reportOf(device: Device, quick = false): Promise<DeviceReport> {
  return {
    kind: device.kind,
    description: device.description,
    dtypes: [...device.dtypes],
    maxBufferBytes: device.maxBufferBytes,
    maxBindingBytes: device.maxBindingBytes,
    ...quick ? {} : await speed(device),
  };
}

/** Measures f32 products of 1024 x 1024 x 1024, and sums of two vectors of 32 MiB: the best of three. */
async function speed(device: Device): Promise<Pick<DeviceReport, "gflops" | "gigabytesPerSecond">> {
  using _scope = new Scope();
  const n = 1024, length = 2 ** 23;
  const a = ones([n, n], { device });
  const x = ones([length], { device });
  const product = await secondsOf(device, () => matmul(a, a));
  const sum = await secondsOf(device, () => add(x, x));
  return { gflops: 2 * n ** 3 / product / 1e9, gigabytesPerSecond: 2 * 4 * length / sum / 1e9 };
}

/** Returns the seconds that one `operation` takes when many are launched. */
async function secondsOf(device: Device, operation: () => { dispose(): void }): Promise<number> {
  const timed = async (repeats: number) => {
    const started = performance.now();
    for (let i = 0; i < repeats; i++) operation().dispose();
    await device.synchronize();
    return (performance.now() - started) / 1000;
  };
  await timed(1); // compiles
  let repeats = 1;
  while (await timed(repeats) < 0.2 && repeats < 1024) repeats *= 2;
  const times = [await timed(repeats), await timed(repeats), await timed(repeats)];
  return Math.min(...times) / repeats;
}

function text(report: DeviceReport): string {
  const { kind, description, software, dtypes, features, gflops, gigabytesPerSecond } = report;
  const lines = [
    `${kind}: ${description}`,
    `  dtypes           ${dtypes.join(", ")}`,
    `  largest buffer   ${formatBytes(report.maxBufferBytes)}, in one binding ${
      formatBytes(report.maxBindingBytes)
    }`,
  ];
  if (features) lines.push(`  features         ${features.join(", ")}`);
  if (gflops !== undefined && gigabytesPerSecond !== undefined) {
    lines.push(`  matrix product   ${gflops.toFixed(1)} GFLOP/s (f32, 1024 x 1024 x 1024)`);
    lines.push(`  memory           ${gigabytesPerSecond.toFixed(1)} GB/s (reads and writes)`);
  }
  if (software) {
    lines.push("  a software adapter: openDevice() takes the CPU device, which is faster");
  }
  return lines.join("\n");
}
