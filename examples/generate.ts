/**
 * Continues a text with a model that an example trained, or translates a sentence.
 *
 *     deno run --allow-read=runs examples/generate.ts <folder> "What is to be continued"
 *
 * The folder is a model of `next_token_byte_pair.ts`, a run of `seq_to_seq_with_transformer.ts` (which translates the
 * sentence), a run of `reproduce_gpt.ts` (its newest checkpoint), or a GPT-2 or LLaMA in Hugging Face's layout. A
 * name such as `openai-community/gpt2` is downloaded from the hub (with `--allow-net --allow-env` and `--allow-write`
 * for the cache); a `.bin` is a llama2.c model with `tokenizer.bin` beside it. The text is streamed to standard
 * output, everything else goes to standard error. All options: `--help`. Ctrl-C ends the text. This is the command
 * line's `generate`.
 *
 * @module
 */
import { main } from "../src/cli/cli.ts";

if (import.meta.main) await main(["generate", ...Deno.args]);
