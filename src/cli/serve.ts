/** `dinograd serve`: answers requests over HTTP. */
import { basename } from "node:path";
import { createHandler, Interrupt, type Pooling } from "../../mod.ts";
import type { CacheOptions, DeviceOptions, MatrixOptions } from "./arguments.ts";
import { findTextModel } from "./find_model.ts";
import { openChosenDevice } from "./open_device.ts";

/** The variable of the environment that may hold the key; read only where `--allow-env` covers it. */
const KEY = "DINOGRAD_API_KEY";

/** What a command line may ask for. */
export interface ServeOptions extends DeviceOptions, MatrixOptions, CacheOptions {
  port: number;
  host: string;
  apiKey?: string;
  name?: string;
  maxBatch: number;
  maxQueue: number;
  maxTokens?: number;
  /** MiB. */
  cache?: number;
  pooling: Pooling;
}

/** Serves a model until a signal comes, and then finishes what runs. */
export async function serve(from: string, options: ServeOptions): Promise<void> {
  const { port, host: hostname, maxBatch, maxQueue, maxTokens, cache, pooling } = options;
  const device = await openChosenDevice(options);
  const { model, tokenizer, chatTemplate } = await findTextModel(from, device, {
    matrices: options.dtype ?? "stored",
  });
  model.cacheDtype = options.cacheDtype;
  const modelName = options.name ?? basename(from);
  const handler = createHandler(model, tokenizer, {
    ...{ modelName, maxBatch, maxQueue, maxTokens, pooling },
    cacheBytes: cache && cache * 2 ** 20,
    apiKey: options.apiKey ?? keyOfEnvironment(),
    chatTemplate: await chatTemplate(),
  });
  using interrupt = new Interrupt((signal) => {
    const { running } = handler.engine.stats;
    console.error(`${signal}: finishing ${running} answers ...`);
    handler.shutdown().then(() => server.shutdown());
  });
  const server = Deno.serve({
    port,
    hostname,
    onListen: ({ hostname, port }) =>
      console.error(`${modelName} on ${device.description}: http://${hostname}:${port}/v1`),
  }, handler);
  await server.finished;
  model.dispose();
  Deno.exitCode = interrupt.exitCode;
}

function keyOfEnvironment(): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: KEY });
  return state === "granted" ? Deno.env.get(KEY) || undefined : undefined;
}
