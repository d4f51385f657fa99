/** `dinograd serve`: answers requests over HTTP. */
import { basename } from "node:path";
import { createHandler, Interrupt, type Pooling } from "../../mod.ts";
import type { CacheOptions, DeviceOptions, MatrixOptions } from "./arguments.ts";
import { findTextModel } from "./find_model.ts";
import { openChosenDevice } from "./open_device.ts";

/** The environment variable that may hold the key; read only if `--allow-env` covers it. */
const KEY = "DINOGRAD_API_KEY";

/** Options of `serve`. */
export interface ServeOptions extends DeviceOptions, MatrixOptions, CacheOptions {
  port: number;
  host: string;
  apiKey?: string;
  name?: string;
  maxBatch: number;
  maxQueue: number;
  maxTokens?: number;
  /** In MiB. */
  cache?: number;
  pooling: Pooling;
}

/** Serves a model until a signal arrives, and then finishes the running requests. */
export async function serve(from: string, options: ServeOptions): Promise<void> {
  const { port, host: hostname, maxBatch, maxQueue, maxTokens, cache, pooling } = options;
  const device = await openChosenDevice(options);
  const { model, tokenizer, chatTemplate, stopIds } = await findTextModel(from, device, {
    matrices: options.dtype ?? "stored",
  });
  model.cacheDtype = options.cacheDtype;
  const modelName = options.name ?? basename(from);
  const handler = createHandler(model, tokenizer, {
    ...{ modelName, maxBatch, maxQueue, maxTokens, pooling, stopIds },
    cacheBytes: cache && cache * 2 ** 20,
    apiKey: options.apiKey ?? keyOfEnvironment(),
    chatTemplate: await chatTemplate(),
  });
  using interrupt = new Interrupt((signal) => {
    const { running } = handler.engine.stats;
    console.error(`${signal}: finishing ${running} answers ...`);
    handler.shutdown().then(() => server.shutdown());
  });
  const server = listen(
    {
      port,
      hostname,
      onListen: ({ hostname, port }) =>
        console.error(
          `serving ${modelName} on ${device.description}: http://${hostname}:${port}/v1`,
        ),
    },
    handler,
  );
  await server.finished;
  model.dispose();
  Deno.exitCode = interrupt.exitCode;
}

function listen(
  options: Deno.ServeTcpOptions,
  handler: Deno.ServeHandler<Deno.NetAddr>,
): Deno.HttpServer {
  try {
    return Deno.serve(options, handler);
  } catch (cause) {
    const { hostname, port } = options;
    const reason = cause instanceof Deno.errors.AddrInUse
      ? "which another program listens on; use another --port"
      : (cause as Error).message;
    throw new Error(
      `serve: expected an address to listen on but got ${hostname}:${port}, ${reason}`,
      {
        cause,
      },
    );
  }
}

function keyOfEnvironment(): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: KEY });
  return state === "granted" ? Deno.env.get(KEY) || undefined : undefined;
}
