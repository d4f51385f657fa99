/**
 * One tokenizer's first call in this process, for `compare_tokenizer.ts`, which starts it:
 * `deno run -A bench/tokenizer_cold.ts <tokenizer>`, the text on standard input. Prints the
 * milliseconds of loading and of the first call.
 */
import { LOADERS, type PeerName } from "./tokenizer_peers.ts";

const text = await new Response(Deno.stdin.readable).text();
const start = performance.now();
const encode = await LOADERS[Deno.args[0] as PeerName]();
const loaded = performance.now();
const ids = encode(text).length;
const done = performance.now();
console.log(JSON.stringify({ loadMs: loaded - start, firstMs: done - loaded, ids }));
