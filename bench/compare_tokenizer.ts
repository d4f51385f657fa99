/**
 * GPT-2 encoding against npm's tokenizers, warm and in fresh processes, and training of 500 merges.
 * All on one thread; medians of interleaved runs; a ratio above 1 means dinograd is faster.
 *
 * `deno run -A bench/compare_tokenizer.ts [text file]`;
 * the default text is `shakespeare.txt` in `DINOGRAD_DATA` or in `../shared/data`.
 */
import { BytePairTokenizer } from "../src/tokenizer/byte_pair_tokenizer.ts";
import { benchText, LOADERS, median, type PeerName } from "./tokenizer_peers.ts";

const WARM_ROUNDS = 15;
const COLD_ROUNDS = 5;
const TRAIN_ROUNDS = 5;
const MERGES = 500;

const names = Object.keys(LOADERS) as PeerName[];
const folder = Deno.env.get("DINOGRAD_DATA") ??
  new URL("../../shared/data", import.meta.url).pathname;
const { name, text } = await benchText(Deno.args[0] ?? `${folder}/shakespeare.txt`);
const textBytes = new TextEncoder().encode(text);

type Times = Record<PeerName, number[]>;
const newTimes = (): Times => ({ dinograd: [], "gpt-tokenizer": [], tiktoken: [] });

/** Prints MB/s of each tokenizer and the ratio to the fastest of the others. */
function report(title: string, times: Times): void {
  const rate = (peer: PeerName): number => textBytes.length / median(times[peer]) / 1e3;
  const fastest = names.slice(1).toSorted((a, b) => rate(b) - rate(a))[0];
  const rates = names.map((peer) => `${peer} ${rate(peer).toFixed(1)}`).join(", ");
  const ratio = rate("dinograd") / rate(fastest);
  console.log(`${title}: ${rates} MB/s; ${ratio.toFixed(2)}x ${fastest}`);
}

async function runCold(peer: PeerName): Promise<{ loadMs: number; firstMs: number; ids: number }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", new URL("tokenizer_cold.ts", import.meta.url).href, peer],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const output = child.output();
  const writer = child.stdin.getWriter();
  await writer.write(textBytes);
  await writer.close();
  const { success, stdout } = await output;
  if (!success) throw new Error(`the process that measures ${peer} failed`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

console.log(`GPT-2 encoding of ${name}, ${textBytes.length} bytes, 1 thread`);

const first = newTimes();
const withLoad = newTimes();
for (let round = 0; round < COLD_ROUNDS; round++) {
  for (const peer of names) {
    const { loadMs, firstMs } = await runCold(peer);
    first[peer].push(firstMs);
    withLoad[peer].push(loadMs + firstMs);
  }
}
report("first call in a fresh process", first);
report("the same with loading", withLoad);

const warm = newTimes();
const encoders = await Promise.all(names.map((peer) => LOADERS[peer]()));
const expected = encoders[0](text);
for (const encode of encoders) {
  const ids = encode(text);
  if (ids.length !== expected.length || Array.from(ids).some((id, i) => id !== expected[i])) {
    throw new Error("the tokenizers differ in their ids");
  }
}
for (let round = 0; round < WARM_ROUNDS; round++) {
  names.forEach((peer, i) => {
    const start = performance.now();
    encoders[i](text);
    warm[peer].push(performance.now() - start);
  });
}
report(`warm, ${expected.length} ids, the same from all`, warm);

const training: number[] = [];
for (let round = 0; round < TRAIN_ROUNDS; round++) {
  const start = performance.now();
  const { merges } = BytePairTokenizer.train(text, { merges: MERGES });
  training.push((performance.now() - start) / 1e3);
  if (merges.length !== MERGES) throw new Error(`found ${merges.length} merges`);
}
console.log(
  `${MERGES} merges, GPT-4's pattern: median ${median(training).toFixed(3)} s, ` +
    `first ${training[0].toFixed(3)} s`,
);
