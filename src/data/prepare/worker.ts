// A thread that tokenizes: receives a tokenizer, then work, which it answers with tokens, or with the work if that failed.
/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
import { CorpusTokenizer, type TokenizerMessage } from "./corpus_tokenizer.ts";
import { type Work, WorkTokenizer } from "./work.ts";

let tokenizer: WorkTokenizer;

self.onmessage = async ({ data }: MessageEvent<TokenizerMessage | Work>) => {
  if (!("kind" in data)) {
    tokenizer = new WorkTokenizer(CorpusTokenizer.from(data));
    return;
  }
  try {
    const done = await tokenizer.tokenize(data);
    self.postMessage({ done }, [done.tokens.buffer]);
  } catch {
    // Errors lose their classes on the way; the requesting thread will meet this one again.
    self.postMessage({ failed: data });
  }
};
