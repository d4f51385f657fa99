import assert from "node:assert/strict";
import type { ChatTemplate } from "../../src/data/chat_format.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { writeGguf } from "../../src/io/gguf.ts";
import type { GgufValue } from "../../src/io/gguf_header.ts";
import {
  jinjaChatTemplate,
  loadChatTemplate,
  loadStopIds,
  plainChatTemplate,
} from "../../src/pretrained/chat_template.ts";
import { endOfTextIds } from "../../src/tokenizer/tokenizer.ts";
import { asciiTokenizer } from "../../tools/proofs/ascii_tokenizer.ts";
import { inFolder } from "../support/examples.ts";

const messages = [
  { role: "system", content: "Be brief." },
  { role: "user", content: "Hi!" },
  { role: "assistant", content: "Hello." },
  { role: "user", content: "Who are you?" },
];

const text = (template: ChatTemplate, said = messages) =>
  asciiTokenizer.decode(template.encode(said, asciiTokenizer));

// As Llama 3, Qwen 2.5 (ChatML) and Mistral have them, shortened by what concerns tools.
const TEMPLATES: Record<string, [source: string, expected: string]> = {
  llama: [
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi!<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWho are you?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
  ],
  chatml: [
    "{%- if messages[0]['role'] == 'system' %}\n    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n{%- endif %}\n{%- for message in messages %}\n    {%- if message.role != 'system' %}\n        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n",
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n",
  ],
  mistral: [
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}{{- bos_token }}{%- for message in loop_messages %}{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('roles must alternate') }}{%- endif %}{%- if message['role'] == 'user' %}{%- if loop.first and system_message is defined %}{{- ' [INST] ' + system_message + '\n\n' + message['content'] + ' [/INST]' }}{%- else %}{{- ' [INST] ' + message['content'] + ' [/INST]' }}{%- endif %}{%- else %}{{- ' ' + message['content'] + eos_token}}{%- endif %}{%- endfor %}",
    "<|begin_of_text|> [INST] Be brief.\n\nHi! [/INST] Hello.</s> [INST] Who are you? [/INST]",
  ],
};

const tokens = { bos_token: "<|begin_of_text|>", eos_token: "</s>" };

for (const [name, [source, expected]] of Object.entries(TEMPLATES)) {
  Deno.test(`chat template: ${name}'s`, async () => {
    const template = await jinjaChatTemplate(source, tokens);
    assert.equal(text(template), expected);
    assert.deepEqual(template.stop, []);
  });
}

Deno.test("chat template: what a template refuses, and one that is none", async () => {
  const template = await jinjaChatTemplate(TEMPLATES.mistral![0], tokens);
  assert.throws(() => text(template, [messages[1]!, messages[1]!]), /roles must alternate/);
  await assert.rejects(
    jinjaChatTemplate("{% for %}", {}, "a/chat_template.jinja"),
    (error) =>
      error instanceof FileFormatError &&
      /a\/chat_template\.jinja.*expected a template in Jinja but got another/.test(error.message),
  );
});

Deno.test("chat template: special tokens become their ids, with a plain template they do not", async () => {
  const said = [{ role: "user", content: "a<|endoftext|>" }];
  const template = await jinjaChatTemplate("{{ eos_token }}{{ messages[0].content }}", {
    eos_token: "<|endoftext|>",
  });
  assert.deepEqual([...template.encode(said, asciiTokenizer)], [128, 97, 128]);
  assert.ok(!plainChatTemplate.encode(said, asciiTokenizer).includes(128));
  assert.equal(
    text(plainChatTemplate),
    "Be brief.\n\nUser: Hi!\nAssistant: Hello.\nUser: Who are you?\nAssistant:",
  );
  assert.deepEqual(endOfTextIds(asciiTokenizer), [128]);
});

Deno.test("chat template: that of a GGUF file", () =>
  inFolder(async (folder) => {
    const [source, expected] = TEMPLATES.mistral;
    const vocabulary = {
      type: "array",
      of: "string",
      value: ["a", tokens.bos_token, tokens.eos_token],
    };
    const metadata = [
      ["tokenizer.ggml.tokens", vocabulary],
      ["tokenizer.ggml.bos_token_id", { type: "u32", value: 1 }],
      ["tokenizer.ggml.eos_token_id", { type: "u32", value: 2 }],
    ] as [string, GgufValue][];
    const file = `${folder}/model.gguf`;
    await writeGguf(file, metadata, []);
    assert.equal(await loadChatTemplate(file), plainChatTemplate);
    await writeGguf(file, [...metadata, ["tokenizer.chat_template", {
      type: "string",
      value: source,
    }]], []);
    assert.equal(text(await loadChatTemplate(file)), expected);
  }));

Deno.test("chat template: the files of a folder", () =>
  inFolder(async (folder) => {
    const write = (config: unknown) =>
      Deno.writeTextFile(`${folder}/tokenizer_config.json`, JSON.stringify(config));
    const loaded = async () => text(await loadChatTemplate(folder));
    assert.equal(await loadChatTemplate(folder), plainChatTemplate);
    await write({ bos_token: "<s>" });
    assert.equal(await loadChatTemplate(folder), plainChatTemplate);
    await write({ bos_token: { content: "<s>" }, chat_template: "{{ bos_token }}!" });
    assert.equal(await loaded(), "<s>!");
    const several = [{ name: "tool_use", template: "no" }, { name: "default", template: "yes" }];
    await write({ chat_template: several });
    assert.equal(await loaded(), "yes");
    await Deno.writeTextFile(`${folder}/chat_template.jinja`, "a file");
    assert.equal(await loaded(), "a file");
    await Deno.remove(`${folder}/chat_template.jinja`);
    await write({ chat_template: 5 });
    await assert.rejects(
      loadChatTemplate(folder),
      /expected a text, or a list of templates, but got/,
    );
  }));

Deno.test("loadStopIds() finds the ids that a model's files give, besides the known tokens", () =>
  inFolder(async (folder) => {
    const write = (file: string, fields: unknown) =>
      Deno.writeTextFile(`${folder}/${file}.json`, JSON.stringify(fields));
    const found = () => loadStopIds(folder, asciiTokenizer);
    assert.deepEqual(await found(), [128]);
    // As saveModel writes it; 0 is not meant.
    await write("config", { eos_token_id: null });
    assert.deepEqual(await found(), [128]);
    await write("config", { eos_token_id: 7 });
    await write("generation_config", { eos_token_id: [5, 128, -1, 1000, "6"] });
    assert.deepEqual(await found(), [128, 5, 7]);
    const own = { ...asciiTokenizer, specialTokens: new Map([["<the end>", 3]]) };
    await write("tokenizer_config", { eos_token: { content: "<the end>" } });
    assert.deepEqual(await loadStopIds(folder, own), [5, 128, 7, 3]);
    await write("generation_config", []);
    await assert.rejects(found(), FileFormatError);

    const file = `${folder}/model.gguf`;
    await writeGguf(file, [
      ["tokenizer.ggml.eos_token_id", { type: "u32", value: 9 }],
      ["tokenizer.ggml.eot_token_id", { type: "u32", value: 10 }],
    ], []);
    assert.deepEqual(await loadStopIds(file, asciiTokenizer), [128, 9, 10]);
  }));
