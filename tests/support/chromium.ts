/** A headless Chromium, driven over the DevTools protocol. */

/** A page that is open in a browser. */
export interface Page extends AsyncDisposable {
  /** The value of a JavaScript expression, a promise's when it is kept. Throws what the page throws. */
  evaluate<T>(expression: string): Promise<T>;
  /** Waits until an expression is true. Throws after `seconds`, with what the page wrote to its console. */
  until(expression: string, seconds?: number): Promise<void>;
}

/** Opens a page in a browser of its own, with WebGPU over SwiftShader or without WebGPU. */
export async function openPage(url: string, { webgpu }: { webgpu: boolean }): Promise<Page> {
  const profile = await Deno.makeTempDir({ prefix: "chromium" });
  const gpu = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
  const child = new Deno.Command("chromium", {
    args: [
      "--headless=new",
      "--no-sandbox",
      "--remote-debugging-port=0",
      `--user-data-dir=${profile}`,
      ...webgpu ? [...gpu, "--enable-features=Vulkan"] : ["--disable-features=WebGPU"],
      url,
    ],
    stdout: "null",
    stderr: "piped",
  }).spawn();
  try {
    const port = await debuggingPort(child.stderr);
    const targets = await (await fetch(`http://127.0.0.1:${port}/json/list`)).json();
    const { webSocketDebuggerUrl } = targets.find(({ type }: { type: string }) => type === "page");
    const client = await connect(webSocketDebuggerUrl);
    return { ...client, [Symbol.asyncDispose]: () => end(client, child, profile) };
  } catch (error) {
    child.kill();
    await child.status;
    throw error;
  }
}

async function debuggingPort(stderr: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  let text = "";
  const found = Promise.withResolvers<string>();
  (async () => {
    for await (const part of stderr.pipeThrough(new TextDecoderStream())) {
      text += part;
      const port = /DevTools listening on ws:\/\/127\.0\.0\.1:(\d+)/.exec(text)?.[1];
      if (port) found.resolve(port);
    }
    found.reject(new Error(`chromium: ${text}`));
  })();
  return await found.promise;
}

type Client = Omit<Page, keyof AsyncDisposable> & { close(): Promise<void> };

async function connect(url: string): Promise<Client> {
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = reject;
  });
  // deno-lint-ignore no-explicit-any -- the protocol's answers
  const waiting = new Map<number, (answer: any) => void>();
  const written: string[] = [];
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    waiting.get(message.id)?.(message);
    waiting.delete(message.id);
    if (message.method === "Runtime.consoleAPICalled") {
      written.push(JSON.stringify(message.params.args));
    }
    if (message.method === "Runtime.exceptionThrown") written.push(JSON.stringify(message.params));
  };
  let id = 0;
  const send = (method: string, params = {}) =>
    // deno-lint-ignore no-explicit-any -- the protocol's answers
    new Promise<any>((resolve) => {
      waiting.set(++id, resolve);
      socket.send(JSON.stringify({ id, method, params }));
    });
  await send("Runtime.enable");
  const evaluate = async <T>(expression: string): Promise<T> => {
    const options = { expression, awaitPromise: true, returnByValue: true };
    const { result } = await send("Runtime.evaluate", options);
    if (result.exceptionDetails) throw new Error(JSON.stringify(result.exceptionDetails));
    return result.result.value;
  };
  return {
    evaluate,
    async until(expression, seconds = 60) {
      const end = Date.now() + seconds * 1000;
      while (!await evaluate<boolean>(expression)) {
        if (Date.now() > end) {
          const text = await evaluate("document.body.innerText");
          throw new Error(`after ${seconds} s not ${expression}: ${written.join("\n")}\n${text}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    },
    async close() {
      const closed = new Promise((resolve) => socket.onclose = resolve);
      send("Browser.close");
      await closed;
    },
  };
}

async function end(client: Client, child: Deno.ChildProcess, profile: string): Promise<void> {
  await client.close();
  await child.status;
  await Deno.remove(profile, { recursive: true });
}
