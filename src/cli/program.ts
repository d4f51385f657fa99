/** The commands of `dinograd`, their options and help. A command's code is loaded when it is called. */
import {
  addCacheOption,
  addDeviceOptions,
  addGpuOption,
  addMatrixOption,
  addNucleusOptions,
  choice,
  type Command,
  integer,
  MODEL,
  NAME,
  newCommand,
  number,
  port,
  positive,
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
  const program = newCommand(NAME, "train and run small language models on WebGPU and the CPU")
    .version(denoJson.version)
    .option("--debug", "print the stack trace of an error")
    .enablePositionalOptions()
    .addHelpText(
      "after",
      `
Exit codes: 0 success, 1 failure, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP
Results go to standard output, everything else to standard error.`,
    );

  addOwnParser(
    program,
    "train",
    "train GPT-2 from scratch, or a newer model with --recipe modern",
    async () => (await import("./train.ts")).train,
  );
  addOwnParser(
    program,
    "finetune",
    "fine-tune a model on your own data",
    async () => (await import("./finetune.ts")).finetune,
  );
  addOwnParser(
    program,
    "generate",
    "continue a text or translate a sentence",
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
  const command = addCacheOption(addMatrixOption(addDeviceOptions(program.command("chat"), "auto")))
    .description("chat with a model in the terminal")
    .argument("<model>", MODEL)
    .option("--system <text>", "system prompt")
    .option(
      "--max-tokens <n>",
      "maximum number of tokens in an answer (default: the rest of the context)",
      positive,
    )
    .option(
      "--temperature <x>",
      "sampling temperature; 0 always takes the most likely token",
      number,
      1,
    );
  addNucleusOptions(command)
    .option("--seed <n>", "random seed (default: a new one each time)", integer)
    .addHelpText(
      "after",
      `
Each line is a message. /clear forgets the conversation; /exit or Ctrl-D exits.
Ctrl-C stops the current answer, or exits if there is none.
${examples("chat", ['HuggingFaceTB/SmolLM-135M-Instruct --system "Be brief."'])}`,
    )
    .action(async (from: string, options: ChatOptions) => {
      const { chat } = await import("./chat.ts");
      await chat(from, options);
    });
}

function addServe(program: Command): void {
  addCacheOption(addMatrixOption(addDeviceOptions(program.command("serve"), "auto")))
    .description("serve a model over HTTP with an OpenAI-compatible API")
    .argument("<model>", MODEL)
    .option("--port <n>", "port to listen on; 0 picks a free one", port, 8000)
    .option("--host <address>", "address to listen on; 0.0.0.0 accepts other machines", "127.0.0.1")
    .option("--api-key <key>", "key that requests must send (default: $DINOGRAD_API_KEY)")
    .option("--name <name>", "name of the model in requests (default: the last part of its path)")
    .option("--max-batch <n>", "maximum number of answers generated at the same time", positive, 32)
    .option(
      "--max-queue <n>",
      "maximum number of answers waiting; further requests get 429",
      integer,
      256,
    )
    .option(
      "--max-tokens <n>",
      "maximum number of tokens in an answer (default: the rest of the context)",
      positive,
    )
    .option("--cache <MiB>", "memory for the key-value cache (default: 1024)", positive)
    .option(
      "--pooling <mean|last>",
      "embeddings: mean of the hidden states, or the last one",
      choice(["mean", "last"]),
      "mean",
    )
    .addHelpText(
      "after",
      `
Ctrl-C finishes the running answers and exits; pressed twice, it exits immediately.
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
    .description("convert text to token ids, or back")
    .argument("[text...]", "text to convert (default: --file, or standard input)")
    .option(
      "--tokenizer <name>",
      TOKENIZER,
      "gpt2",
    )
    .option("--file <path>", "read the text, or the ids, from a file")
    .option("--decode", "convert ids to text")
    .option("--count", "print only the number of tokens and bytes")
    .option("--special", "recognise special tokens in the text")
    .option("--json", "print JSON")
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
    .description(
      "convert texts to token shards",
    )
    .argument(
      "[files...]",
      ".parquet, .jsonl or .txt; the last two also as .gz or .zst (default: FineWeb-Edu's sample of 10 billion tokens)",
    )
    .option("--out <folder>", "folder for the shards", "edu_fineweb10B")
    .option("--prefix <name>", "prefix of the shards' names (default: corpus, or edufineweb)")
    .option(
      "--tokenizer <name>",
      `a byte-level tokenizer, saved beside the shards for train: ${TOKENIZER} (default: gpt2)`,
    )
    .option("--field <name>", "column or field that contains the text (default: text)")
    .option("--shard-tokens <n>", "tokens per shard (default: 100,000,000)", positive)
    .option(
      "--shards <n>",
      "stop after n shards; run again with more to resume (default: all)",
      positive,
    )
    .option(
      "--workers <n>",
      "number of threads on each rank (default: one per core, at most 4)",
      integer,
    )
    .option("--keep-downloads", "keep FineWeb-Edu's parquet files")
    .addHelpText(
      "after",
      examples("prepare", [
        "--shards 2",
        "--out shards books/*.txt",
        "--field content dump.jsonl.zst",
        "--tokenizer runs/my-run --out shards books/*.txt",
      ]),
    )
    .action(async (files: string[], options: PrepareCommandOptions) => {
      const { prepare } = await import("./prepare.ts");
      Deno.exitCode = await prepare(files, options);
    });
}

function addEvaluate(program: Command): void {
  addMatrixOption(addDeviceOptions(program.command("evaluate"), "auto"))
    .description("evaluate a model: HellaSwag, perplexity, bits per byte")
    .argument("<model>", MODEL)
    .option(
      "--text <file>",
      "compute perplexity and bits per byte of a text; - reads standard input",
    )
    .option(
      "--stride <n>",
      "tokens by which the window advances (default: half a window)",
      positive,
    )
    .option("--context <n>", "tokens per window (default: the model's context)", positive)
    .option(
      "--hellaswag [file]",
      "compute accuracy on HellaSwag, downloaded or from a file in its format",
    )
    .option("--limit <n>", "use only the first n items of HellaSwag", positive)
    .option("--json", "print JSON")
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
    .description("convert a model to another format")
    .argument("<model>", MODEL)
    .argument("<target>", "folder to write, or file for gguf and llama2c")
    .option(
      "--to <huggingface|gguf|llama2c>",
      "output format (default: gguf if the target ends in .gguf, llama2c if in .bin, else huggingface)",
      choice(["huggingface", "gguf", "llama2c"]),
    )
    .option(
      "--dtype <f32|f16|bf16|q8_0|q4_0>",
      "dtype of the weights; q8_0 and q4_0 only in gguf (default: f32)",
      choice(["f32", "f16", "bf16", "q8_0", "q4_0"]),
    )
    .option("--force", "overwrite an existing target")
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
    .description("list the devices and measure their speed")
    .option("--quick", "skip the measurements")
    .option("--json", "print JSON")
    .addHelpText("after", examples("devices", ["", "--json", "--gpu dawn"]))
    .action(async (options: DevicesOptions) => {
      const { devices } = await import("./devices.ts");
      await devices(options);
    });
}

function addCompletions(program: Command): void {
  program.command("completions")
    .description("print a shell completion script")
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
