// `dinograd serve` and `dinograd chat` as a person meets them, with the permissions that the README names.
import assert from "node:assert/strict";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { saveModel } from "../../src/pretrained/save_model.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { GPT2Tokenizer } from "../../src/tokenizer/gpt2_tokenizer.ts";
import { finish, inFolder } from "../support/examples.ts";

const cli = new URL("../../src/cli/cli.ts", import.meta.url).pathname;

async function saveChatModel(folder: string): Promise<void> {
  using device = CpuDevice.open({ threads: 1 });
  const model = new GPT2({
    vocabSize: 50257,
    maxPositionEmbeddings: 64,
    hiddenSize: 8,
    numHiddenLayers: 1,
    numAttentionHeads: 2,
  }, { device, random: new RandomState(1) });
  await saveModel(`${folder}/model`, model, { tokenizer: new GPT2Tokenizer() });
  await Deno.writeTextFile(
    `${folder}/model/tokenizer_config.json`,
    JSON.stringify({
      eos_token: { content: "<|endoftext|>" },
      chat_template: [{
        name: "default",
        template: "{% for m in messages %}{{ eos_token }}{{ m.content }}{% endfor %}",
      }],
    }),
  );
}

function start(cwd: string, args: string[], permissions: string[], stdin: "piped" | "null") {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", ...permissions, cli, ...args, "--device", "cpu"],
    cwd,
    env: { NO_COLOR: "1", DINOGRAD_API_KEY: "secret" },
    stdin,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

Deno.test("cli: serve answers until Ctrl-C, and finishes what runs", () =>
  inFolder(async (folder) => {
    await saveChatModel(folder);
    const permissions = [
      "--allow-read=model",
      "--allow-net=127.0.0.1",
      "--allow-env=DINOGRAD_API_KEY",
    ];
    const child = start(folder, ["serve", "model", "--port", "0"], permissions, "null");
    const ask = async (url: string) => {
      const headers = { "content-type": "application/json", authorization: "Bearer secret" };
      const body = { messages: [{ role: "user", content: "Hello world" }], max_tokens: 60 };
      const post = (more: object, own = headers as Record<string, string>) =>
        fetch(`${url}/chat/completions`, {
          ...{ method: "POST", headers: own, body: JSON.stringify({ ...body, ...more }) },
        });
      const { authorization: _, ...keyless } = headers;
      const { status } = await post({}, keyless);
      const { usage } = await (await post({ max_tokens: 2 })).json();
      const stream = (await post({ stream: true })).body!.pipeThrough(new TextDecoderStream());
      let events = "";
      for await (const part of stream) {
        if (!events) child.kill("SIGINT");
        events += part;
      }
      return { status, usage, events };
    };
    let answer: ReturnType<typeof ask> | undefined;
    const { code, text } = await finish(child, (text) => {
      const url = /^model on CPU, .*: (http:\/\/127\.0\.0\.1:\d+\/v1)$/m.exec(text)?.[1];
      if (url) answer ??= ask(url);
    });
    assert.equal(code, 130, text);
    const { status, usage, events } = (await answer)!;
    assert.equal(status, 401);
    assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [3, 2]);
    assert.match(events, /"finish_reason":"(length|stop)".*\n\ndata: \[DONE\]\n\n$/);
    assert.match(text, /SIGINT: finishing \d answers \.\.\.\n$/);

    using other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = other.addr as Deno.NetAddr;
    const refused = await finish(
      start(folder, ["serve", "model", "--port", `${port}`], permissions, "null"),
    );
    assert.equal(refused.code, 1, refused.text);
    const wanted = `but got 127.0.0.1:${port}, one that another program listens on; name another`;
    assert.ok(refused.text.includes(wanted), refused.text);
  }));

Deno.test("cli: chat answers line by line, forgets what is too long, and ends", () =>
  inFolder(async (folder) => {
    await saveChatModel(folder);
    const talk = async (input: string, ...args: string[]) => {
      const child = start(
        folder,
        ["chat", "model", "--seed", "1", ...args],
        ["--allow-read=model"],
        "piped",
      );
      const writer = child.stdin.getWriter();
      await writer.write(new TextEncoder().encode(input));
      await writer.close();
      return await finish(child);
    };
    const few = ["--max-tokens", "3"];
    const first = await talk("Hello\n\n/clear\nHello\n/exit\nnever read\n", ...few);
    assert.equal(first.code, 0, first.text);
    assert.equal(first.out.trimEnd().split("\n").length, 2);
    const many = await talk("one two three four\n".repeat(12), ...few, "--system", "Be brief.");
    assert.equal(many.code, 0, many.text);
    assert.match(many.text, /\(the context is full: 2 messages were forgotten\)/);
    const long = await talk(`${"long ".repeat(70)}\nHello\n`, ...few);
    assert.match(long.text, /error: .*expected at most 64 tokens of context/);
    assert.ok(long.out.trim(), "the next message is answered");
  }));
