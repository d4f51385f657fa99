/** The commands of `dinograd`, their options and help. A command's code is loaded when it is called. */
import {
  addCacheOption,
  addDeviceOptions,
  addGpuOption,
  addMatrixOption,
  choice,
  type Command,
  integer,
  MODEL,
  NAME,
  newCommand,
  number,
  port,
  positive,
  share,
  TOKENIZER,
} from "./arguments.ts";
import denoJson from "../../deno.json" with { type: "json" };
import type { ChatOptions } from "./chat.ts";
import type { ConvertOptions } from "./convert.ts";
import type { DevicesOptions } from "./devices.ts";
import type { EvaluateOptions } from "./evaluate.ts";
import type { PrepareCommandOptions } from "./prepare.ts";
import type { ServeOptions } from "./serve.ts";
import type { TokenizeOptions } from "./tokenize.ts";

/** Creates the whole command line. */
export function createProgram(): Command {
  const program = newCommand(NAME, "Trains and runs small language models on WebGPU and the CPU.")
    .version(denoJson.version)
    .option("--debug", "show where an error comes from")
    .enablePositionalOptions()
    .addHelpText(
      "after",
      `
Exit codes: 0 all is done, 1 it failed, 2 wrong usage, 130 ended by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
Results go to the standard output, all else to the standard error stream.`,
    );

  addOwnParser(
    program,
    "train",
    "train GPT-2, or a newer model by --recipe modern",
    async () => (await import("./train.ts")).train,
  );
  addOwnParser(
    program,
    "finetune",
    "train a model further, on your data",
    async () => (await import("./finetune.ts")).finetune,
  );
  addOwnParser(
    program,
    "generate",
    "continue a text, or translate a sentence",
    async () => (await import("./generate.ts")).generate,
  );
  addChat(program);
  addServe(program);
  addTokenize(program);
  addPrepare(program);
  addEvaluate(program);
  addConvert(program);
  addDevices(program);
  addCompletions(program);
  return program;
}

/** Adds a command that parses its own options, since some of them depend on others. */
function addOwnParser(
  program: Command,
  name: string,
  description: string,
  load: () => Promise<(args: string[]) => Promise<void>>,
): void {
  program.command(name)
    .description(`${description} (options: ${name} --help)`)
    .argument("[options...]", `see ${name} --help`)
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (args: string[]) => {
      const command = await load();
      await command(args);
    });
}

function addChat(program: Command): void {
  addCacheOption(addMatrixOption(addDeviceOptions(program.command("chat"), "auto")))
    .description("talk to a model")
    .argument("<model>", MODEL)
    .option("--system <text>", "what the model is told before the conversation")
    .option(
      "--max-tokens <n>",
      "most tokens of an answer (default: what the context leaves)",
      positive,
    )
    .option("--temperature <x>", "0 takes the likeliest token each time", number, 1)
    .option("--top-k <n>", "draw from the n likeliest tokens", positive)
    .option("--top-p <x>", "draw from the likeliest tokens that have this probability", share)
    .option("--min-p <x>", "draw from tokens this likely, measured by the likeliest", share)
    .option("--seed <n>", "of the answers (default: another one each time)", integer)
    .addHelpText(
      "after",
      `
A line is a message; /clear forgets the conversation, /exit or Ctrl-D ends. Ctrl-C stops an answer, and ends where there is none.
${examples("chat", ['HuggingFaceTB/SmolLM-135M-Instruct --system "Be brief."'])}`,
    )
    .action(async (from: string, options: ChatOptions) => {
      const { chat } = await import("./chat.ts");
      await chat(from, options);
    });
}

function addServe(program: Command): void {
  addCacheOption(addMatrixOption(addDeviceOptions(program.command("serve"), "auto")))
    .description("answer requests over HTTP as OpenAI's interface does")
    .argument("<model>", MODEL)
    .option("--port <n>", "where to listen; 0 takes a free one", port, 8000)
    .option("--host <address>", "0.0.0.0 lets other machines in", "127.0.0.1")
    .option("--api-key <key>", "requests have to bring it (default: $DINOGRAD_API_KEY)")
    .option("--name <name>", "what the model is called (default: the last part of its path)")
    .option("--max-batch <n>", "most answers that are written together", positive, 32)
    .option("--max-queue <n>", "most that wait; what comes then is refused (429)", integer, 256)
    .option(
      "--max-tokens <n>",
      "most tokens of an answer (default: what the context leaves)",
      positive,
    )
    .option("--cache <MiB>", "memory for keys and values (default: 1024)", positive)
    .option("--pooling <mean|last>", "how embeddings are made", choice(["mean", "last"]), "mean")
    .addHelpText(
      "after",
      `
Ctrl-C finishes running answers and ends; twice ends at once.
${
        examples("serve", [
          "openai-community/gpt2",
          "./my-model --port 9000 --host 0.0.0.0 --api-key secret",
        ])
      }
  curl localhost:8000/v1/completions -H 'content-type: application/json' -d '{"prompt": "Once upon a time"}'`,
    )
    .action(async (from: string, options: ServeOptions) => {
      const { serve } = await import("./serve.ts");
      await serve(from, options);
    });
}

function addTokenize(program: Command): void {
  program.command("tokenize")
    .description("turn text into token ids, and back")
    .argument("[text...]", "the text; else --file, or the standard input")
    .option(
      "--tokenizer <name>",
      TOKENIZER,
      "gpt2",
    )
    .option("--file <path>", "the text, or the ids")
    .option("--decode", "the other way: ids into text")
    .option("--count", "only how many tokens and bytes")
    .option("--special", "take the text of special tokens for them")
    .option("--json", "machine-readable")
    .option("--out <file.npy>", "write the ids as a token shard")
    .addHelpText(
      "after",
      examples("tokenize", ['"Hello, I am"', "--decode 15496 11", "--count --file book.txt"]),
    )
    .action(async (words: string[], options: TokenizeOptions) => {
      const { tokenize } = await import("./tokenize.ts");
      await tokenize(words, options);
    });
}

function addPrepare(program: Command): void {
  program.command("prepare")
    .description("make texts into token shards; without files FineWeb-Edu's ten billion tokens")
    .argument("[files...]", ".parquet, .jsonl or .txt, the latter also .gz or .zst")
    .option("--out <folder>", "where the shards go", "edu_fineweb10B")
    .option("--prefix <name>", "first part of the shards' names (default: corpus, or edufineweb)")
    .option("--field <name>", "column or field that holds the text (default: text)")
    .option("--shard-tokens <n>", "tokens of a shard (default: 100,000,000)", positive)
    .option("--shards <n>", "end after so many; more later go on (default: all)", positive)
    .option("--workers <n>", "threads (default: the cores, at most 4)", integer)
    .option("--keep-downloads", "do not remove the parquet files of FineWeb-Edu")
    .addHelpText(
      "after",
      examples("prepare", [
        "--shards 2",
        "--out shards books/*.txt",
        "--field content dump.jsonl.zst",
      ]),
    )
    .action(async (files: string[], options: PrepareCommandOptions) => {
      const { prepare } = await import("./prepare.ts");
      Deno.exitCode = await prepare(files, options);
    });
}

function addEvaluate(program: Command): void {
  addMatrixOption(addDeviceOptions(program.command("evaluate"), "auto"))
    .description("score a model: HellaSwag, perplexity, bits per byte")
    .argument("<model>", MODEL)
    .option("--text <file>", "perplexity and bits per byte of a text; - is the standard input")
    .option("--stride <n>", "tokens a window moves on by (default: half of it)", positive)
    .option("--context <n>", "tokens of a window (default: the model's)", positive)
    .option("--hellaswag [file]", "accuracy on HellaSwag, downloaded or from a file of its format")
    .option("--limit <n>", "only the first items", positive)
    .option("--json", "machine-readable")
    .addHelpText(
      "after",
      examples("evaluate", [
        "openai-community/gpt2 --hellaswag",
        "runs/my-run --text book.txt --stride 64",
      ]),
    )
    .action(async (from: string, options: EvaluateOptions) => {
      const { evaluate } = await import("./evaluate.ts");
      Deno.exitCode = await evaluate(from, options);
    });
}

function addConvert(program: Command): void {
  program.command("convert")
    .description("write a model in another layout")
    .argument("<model>", MODEL)
    .argument("<target>", "the folder, for gguf and llama2c the file, to write")
    .option(
      "--to <huggingface|gguf|llama2c>",
      "the layout (default: gguf for a target that ends in .gguf, llama2c for .bin, else huggingface)",
      choice(["huggingface", "gguf", "llama2c"]),
    )
    .option(
      "--dtype <f32|f16|bf16|q8_0|q4_0>",
      "of the weights; q8_0 and q4_0 in gguf alone (default: f32)",
      choice(["f32", "f16", "bf16", "q8_0", "q4_0"]),
    )
    .option("--force", "write over what is there")
    .addHelpText(
      "after",
      examples("convert", [
        "runs/my-run gpt2-mine",
        "stories15M.bin stories --to huggingface --dtype bf16",
        "openai-community/gpt2 gpt2.gguf --dtype q8_0",
      ]),
    )
    .action(async (from: string, target: string, options: ConvertOptions) => {
      const { convert } = await import("./convert.ts");
      await convert(from, target, options);
    });
}

function addDevices(program: Command): void {
  addGpuOption(program.command("devices"))
    .description("what there is to compute on, and how fast it is")
    .option("--quick", "without figures")
    .option("--json", "machine-readable")
    .addHelpText("after", examples("devices", ["", "--json", "--gpu dawn"]))
    .action(async (options: DevicesOptions) => {
      const { devices } = await import("./devices.ts");
      await devices(options);
    });
}

function addCompletions(program: Command): void {
  program.command("completions")
    .description("print a script that completes commands and options in a shell")
    .argument("<bash|zsh|fish>", "the shell", choice(["bash", "zsh", "fish"]))
    .addHelpText(
      "after",
      `
Examples:
  source <(${NAME} completions bash)                # in ~/.bashrc
  source <(${NAME} completions zsh)                 # in ~/.zshrc, after compinit
  ${NAME} completions fish > ~/.config/fish/completions/${NAME}.fish`,
    )
    .action(async (shell: "bash" | "zsh" | "fish") => {
      const { completions } = await import("./completions.ts");
      const { print } = await import("./output.ts");
      print(completions(shell, program));
    });
}

function examples(command: string, lines: readonly string[]): string {
  return "\nExamples:\n" + lines.map((line) => `  ${NAME} ${command} ${line}`.trimEnd()).join("\n");
}
