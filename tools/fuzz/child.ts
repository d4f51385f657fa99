/**
 * Runs cases of one format in a process of its own, which may crash or hang. Tells its parent on standard output: the
 * number of each case before it begins, findings after `!`, counts at the end after `=`.
 *
 * @module
 */
import { watchAllocations } from "./allocation_watch.ts";

const [name, seed, first, seconds, folder, only] = Deno.args;
watchAllocations(); // before the readers are loaded, which would else hold the constructors as they were
const { formats } = await import("./formats.ts");
const { chanceOf, verdictOf } = await import("./cases.ts");

const format = formats.find((one) => one.name === name);
if (!format) throw new Error(`no format ${name}`);
const encoder = new TextEncoder();
const tell = (text: string) => Deno.stdout.writeSync(encoder.encode(text + "\n"));

const unexpected = (reason: unknown) =>
  tell(`!${JSON.stringify(`outside of the call: ${reason}`)}`);
globalThis.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  unexpected(event.reason);
});
const spoil = await format.prepare(folder);
let [number, refused, accepted] = [Number(first), 0, 0];
const end = performance.now() + Number(seconds) * 1000;
while (only === undefined ? performance.now() < end : number === Number(first)) {
  tell(String(number));
  const mutant = await spoil(chanceOf(seed, format, number));
  const verdict = await verdictOf(format, mutant);
  verdict.accepted ? accepted++ : refused++;
  if (verdict.finding) tell(`!${JSON.stringify(verdict.finding)}`);
  if (only !== undefined) {
    console.error(verdict.accepted ? "accepted" : verdict.error);
    if (verdict.finding) console.error(`FINDING: ${verdict.finding}`);
  }
  number++;
}
tell(`=${JSON.stringify({ refused, accepted })}`);
