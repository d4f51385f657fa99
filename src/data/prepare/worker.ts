// A thread that tokenizes: receives work and answers with tokens, or with the work if that failed.
/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
import { type Work, WorkTokenizer } from "./work.ts";

const tokenizer = new WorkTokenizer();

self.onmessage = async ({ data: work }: MessageEvent<Work>) => {
  try {
    const done = await tokenizer.tokenize(work);
    self.postMessage({ done }, [done.tokens.buffer]);
  } catch {
    // Errors lose their classes on the way; the requesting thread will meet this one again.
    self.postMessage({ failed: work });
  }
};
