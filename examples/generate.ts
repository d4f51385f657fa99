/**
 * Continues a text with a model that an example trained, or translates a sentence.
 *
 *     deno run --allow-read=runs examples/generate.ts <folder> "What is to be continued"
 *
 * The folder is a model's of `next_token_byte_pair.ts`, a run of `seq_to_seq_with_transformer.ts` (the sentence is then
 * translated), a run of `reproduce_gpt.ts`, whose newest checkpoint is taken, or has a GPT-2 or LLaMA in Hugging Face's
 * layout. A name like `openai-community/gpt2` is downloaded from the hub (with `--allow-net --allow-env` and
 * `--allow-write` for the cache), and a `.bin` is llama2.c's, with `tokenizer.bin` beside it. The text goes to the standard output as
 * it is written, all else to the standard error stream. All options: `--help`. Ctrl-C ends the text. It is the command
 * line's `generate`.
 *
 * @module
 */
import { main } from "../src/cli/cli.ts";

if (import.meta.main) await main(["generate", ...Deno.args]);
