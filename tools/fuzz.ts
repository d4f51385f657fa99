/**
 * Spoils files of every format that the library reads, and looks how the readers take it. A finding is a crash, a hang,
 * memory taken on the word of a number in the file, an error that is not the library's or does not say where, a file
 * taken that contradicts itself. Every finding tells how to have it again.
 *
 * ```sh
 * deno task fuzz --seconds 600 --format parquet
 * deno task fuzz --format npy --case "7:123"
 * ```
 */
import { parseArgs } from "node:util";
import { formatTable } from "../src/report/format.ts";
import { runFormat, type Tally } from "./fuzz/parent.ts";
import { formats } from "./fuzz/formats.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "3600" },
    seed: { type: "string", default: String(crypto.getRandomValues(new Uint32Array(1))[0]) },
    format: { type: "string" },
    case: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
const names = formats.map(({ name }) => name);
if (values.help) {
  console.log(
    `--seconds <n>          in all, split over the formats (3600)\n` +
      `--seed <text>          where the chances come from (random)\n` +
      `--format <a,b>         only these of ${names.join(", ")}\n` +
      `--case <seed:number>   one case of one format again`,
  );
  Deno.exit(0);
}
const wanted = values.format?.split(",") ?? names;
const unknown = wanted.filter((name) => !names.includes(name));
const seconds = Number(values.seconds);
if (unknown.length > 0) fail(`--format: expected some of ${names.join(", ")}, found ${unknown}`);
if (!(seconds > 0)) fail(`--seconds: expected a number above 0, found ${values.seconds}`);

if (values.case !== undefined) {
  const [, seed, number] = /^(.+):(\d+)$/.exec(values.case) ?? [];
  if (seed === undefined || wanted.length !== 1) {
    fail("--case: expected <seed>:<number>, and one --format");
  }
  const { findings } = await runFormat(wanted[0], { seed, only: Number(number), seconds: 0 });
  Deno.exit(findings.length > 0 ? 1 : 0);
}

console.log(`seed ${values.seed}`);
const tallies: Tally[] = [];
for (const name of wanted) {
  const tally = await runFormat(name, { seed: values.seed, seconds: seconds / wanted.length });
  tallies.push(tally);
}
console.log(formatTable(
  tallies.map(({ name, cases, refused, accepted, findings }) => {
    return { format: name, cases, refused, accepted, findings: findings.length };
  }),
  ["format", "cases", "refused", "accepted", "findings"].map((key) => ({ key })),
));
Deno.exit(tallies.some(({ findings }) => findings.length > 0) ? 1 : 0);

function fail(reason: string): never {
  console.error(reason);
  Deno.exit(2);
}
