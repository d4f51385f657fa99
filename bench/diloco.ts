/**
 * DiLoCo compared with training that exchanges every step: the same model, tokens and steps, on 2 and 4 ranks of this
 * machine. The table of docs/SCALING.md; ten minutes of processor time. Needs Debian's `openmpi-bin`.
 *
 *     deno task bench:diloco                            # Moby Dick
 *     deno task bench:diloco --data FILE --steps 1000   # options are passed to reproduce_gpt
 */
import { join } from "node:path";
import { formatTable } from "../mod.ts";

const EXAMPLE = new URL("../examples/reproduce_gpt.ts", import.meta.url).pathname;
const LAUNCHER = ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"];
/** GPT-2 with 0.9 million parameters; 512 tokens in each of 300 steps. */
const ARGS = [
  ...["--device", "cpu", "--vocab-size", "1024", "--layers", "4", "--embed", "128", "--heads", "4"],
  ...["--context", "64", "--batch", "2", "--total-batch", "512", "--steps", "300"],
  ...["--lr", "2e-3", "--warmup", "30", "--every", "100000", "--val-tokens", "8192"],
  ...["--samples", "0", ...Deno.args],
];

/** Trains on some ranks, exchanging every `every` steps; returns what the log says at the end. */
async function train(ranks: number, every: number): Promise<Record<string, string | number>> {
  const folder = await Deno.makeTempDir({ prefix: "dinograd-diloco" });
  try {
    const diloco = every > 1 ? ["--diloco", String(every)] : [];
    const { code, stdout } = await new Deno.Command("mpirun.openmpi", {
      args: [
        ...[...LAUNCHER, "-n", String(ranks), Deno.execPath(), "run", "-A", EXAMPLE],
        ...[...ARGS, ...diloco, "--out", join(folder, "run")],
      ],
      env: { NO_COLOR: "1", TMPDIR: "/tmp" },
      stderr: "inherit",
    }).output();
    const text = new TextDecoder().decode(stdout);
    const [, loss, steps] = /validation loss (\S+) after (\d+) steps\n(?![^]*validation loss)/
      .exec(text) ?? [];
    const exchanged = /each rank exchanged (.+) in/.exec(text)?.[1];
    if (code !== 0 || !loss || !exchanged) throw new Error(`exit code ${code}:\n${text}`);
    const how = every > 1 ? `DiLoCo, H = ${every}` : "every step";
    return { ranks, exchange: how, steps: steps!, loss, exchanged };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const rows = [];
for (const ranks of [2, 4]) {
  for (const every of [1, 10, 50]) {
    rows.push(await train(ranks, every));
    console.error(JSON.stringify(rows.at(-1)));
  }
}
console.log(formatTable(rows, [
  ...[{ key: "ranks" }, { key: "exchange" }, { key: "steps" }],
  { key: "loss", title: "validation loss" },
  { key: "exchanged", title: "exchanged per rank" },
]));
