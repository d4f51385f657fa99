// Runs the example as a person would: trained, stopped and resumed, and asked to translate.
import assert from "node:assert/strict";
import { join } from "node:path";
import { parseOptions } from "../../examples/seq_to_seq_with_transformer/options.ts";
import { assertSame } from "../support/compare.ts";
import { readSafetensorsForTest } from "../support/safetensors.ts";

const root = new URL("../../", import.meta.url);
const example = new URL("examples/seq_to_seq_with_transformer.ts", root).pathname;

const subjects = { i: "je", you: "tu", tom: "tom" };
const verbs = { sleep: "dors", sing: "chante", run: "cours", work: "travaille", wait: "attends" };
const times = { "now .": "maintenant .", "here !": "ici !" };

/** Thirty made-up pairs that follow one rule, so that a small model learns it soon. */
const pairs = Object.entries(subjects).flatMap(([i, je]) =>
  Object.entries(verbs).flatMap(([verb, verbe]) =>
    Object.entries(times).map(([time, temps]) =>
      `${i} ${verb} ${time}\t${je} ${verbe} ${temps}\tmade up\n`
    )
  )
);

const small = [
  ...["--preset", "tiny", "--device", "cpu", "--data", "pairs.txt"],
  ...["--min-frequency", "1", "--embed", "32", "--hidden", "64", "--layers", "1"],
  ...["--batch-size", "8", "--samples", "1", "--scored", "3", "--dropout", "0.1"],
];

interface Run {
  code: number;
  text: string;
  out: string;
}

/** Everything that a run prints, and its exit code; `onText` sees it while it grows. */
async function run(
  cwd: string,
  args: string[],
  options: { deno?: string[]; onText?: (text: string, child: Deno.ChildProcess) => void } = {},
): Promise<Run> {
  const { deno = ["-A", example], onText = () => {} } = options;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", ...deno, ...args],
    cwd,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let [text, out] = ["", ""];
  const collect = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>, isOut: boolean) => {
    for await (const part of stream.pipeThrough(new TextDecoderStream())) {
      if (isOut) out += part;
      onText(text += part, child);
    }
  };
  const [{ code }] = await Promise.all([
    child.status,
    collect(child.stdout, true),
    collect(child.stderr, false),
  ]);
  return { code, text, out };
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  try {
    await Deno.writeTextFile(join(folder, "pairs.txt"), pairs.join(""));
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("seq_to_seq_with_transformer trains, saves, and translates with its header's permissions", () =>
  inFolder(async (folder) => {
    const header = await Deno.readTextFile(example);
    const [, flags] = /deno run (--allow[^\n]*) examples\/seq_to_seq/.exec(header)!;
    // A file of one's own must be allowed, too.
    const deno = [...flags.replace("read=runs", "read=runs,pairs.txt").split(" "), example];
    const { code, text } = await run(folder, [...small, "--epochs", "30", "--lr", "1e-2"], {
      deno,
    });
    assert.equal(code, 0, text);
    assert.match(text, /27 pairs for training, 3 for validation .*; 0 too long, left out/);
    assert.match(text, /English vocabulary: 16 tokens/);
    assert.match(text, /epoch 30\/30 \| train loss \d+\.\d+, accuracy 100\.0% \| validation loss/);
    assert.match(text, /score: log-probability \/ words\^0\.75/);
    assert.match(text, /^\S+ \S+ \S+ [.!] \(expected: \S+ \S+ \S+ [.!]\)$/m);
    assert.match(
      text,
      /^-> beam 3 \| score +-\d\.\d{4} \| BLEU-4 \d\.\d{3}, by 1\/2\^n \d\.\d{3} \| \S+ \S+ \S+ [.!]$/m,
    );
    assert.match(text, /^-> teacher forcing \| \S+ \S+ \S+ [.!] <EOS>( \S+){11}$/m);
    assert.match(text, /beam 2: corpus BLEU-4 \d+\.\d\d on 3 held-out sentences/);

    const [, out] = /writing to (runs\/\S+)/.exec(text)!;
    const names = [...Deno.readDirSync(join(folder, out))].map(({ name }) => name);
    for (
      const name of [
        ...["config.json", "model.safetensors", "source_vocabulary.json", "target_vocabulary.json"],
        ...["lengths.svg", "curves.svg", "log.txt"],
      ]
    ) assert.ok(names.includes(name), `${name} is not among ${names}`);
    const events = names.find((name) => name.includes("tfevents"))!;
    const written = await Deno.readTextFile(join(folder, out, events));
    for (const tag of ["perplexity/train", "perplexity/validation", "weight_norm"]) {
      assert.ok(written.includes(tag), tag);
    }
    const pictures = [...Deno.readDirSync(join(folder, out, "attention"))].map(({ name }) => name);
    assert.deepEqual(pictures.sort(), [
      ...["cross.svg", "cross_epoch_001.svg", "cross_epoch_010.svg", "cross_epoch_020.svg"],
      ...["cross_epoch_030.svg", "decoder.svg", "encoder.svg"],
    ]);
    // Rows of cross-attention are the words produced, which <SOS> is not.
    const [cross, decoder] = await Promise.all(
      ["cross_epoch_030", "decoder"].map((name) =>
        Deno.readTextFile(join(folder, out, "attention", `${name}.svg`))
      ),
    );
    assert.match(cross, /\(epoch 30\)/);
    assert.ok(!cross.includes("SOS") && cross.includes("EOS"));
    assert.ok(decoder.includes("SOS"));

    // The newest model in runs/, without the data; "Tom" and "!" want cleaning.
    const translated = await run(folder, ["--translate", "Tom sleep here!", "--device", "cpu"], {
      deno: ["--allow-read=runs", example],
    });
    assert.equal(translated.code, 0, translated.text);
    assert.equal(translated.out, "tom dors ici !\n");
    const args = ["--model", out, "--device", "cpu", "--beam-width", "1"];
    const unknown = await run(folder, ["--translate", "you fly now .", ...args]);
    assert.equal(unknown.code, 0, unknown.text);
    assert.match(unknown.text, /not in the vocabulary: fly\n/);
    for (
      const [sentence, message] of [
        ["  ", /expected words to translate but got none/],
        ["i ".repeat(30), /expected at most 15 words but got 30/],
      ] as const
    ) {
      const { code, text } = await run(folder, ["--translate", sentence, ...args]);
      assert.notEqual(code, 0);
      assert.match(text, message);
    }

    await Deno.copyFile(join(folder, out, "source_vocabulary.json"), join(folder, "small.json"));
    const vocabulary = JSON.parse(await Deno.readTextFile(join(folder, "small.json")));
    vocabulary.words.pop();
    await Deno.writeTextFile(
      join(folder, out, "source_vocabulary.json"),
      JSON.stringify(vocabulary),
    );
    const foreign = await run(folder, ["--translate", "i run now .", ...args]);
    assert.notEqual(foreign.code, 0);
    assert.match(foreign.text, /source_vocabulary\.json: .* of 16 ids but got 15/);
  }));

Deno.test("seq_to_seq_with_transformer goes on after Ctrl-C as if it had not been stopped", () =>
  inFolder(async (folder) => {
    const args = [...small, "--epochs", "6", "--save-every", "1000"];
    const straight = await run(folder, ["--out", "straight", ...args]);
    assert.equal(straight.code, 0, straight.text);

    let sent = false;
    const stopped = await run(folder, ["--out", "stopped", ...args], {
      onText: (text, child) => {
        if (sent || !/epoch +2\/6 /.test(text)) return;
        sent = true;
        child.kill("SIGINT");
      },
    });
    assert.equal(stopped.code, 130, stopped.text);
    assert.match(stopped.text, /stopped after step \d+ of 24; resume with --resume stopped/);
    const refused = await run(folder, ["--resume", "stopped", "--epochs", "2"]);
    assert.match(refused.text, /the run's own options but got --epochs; leave them out/);
    const resumed = await run(folder, ["--resume", "stopped"]);
    assert.equal(resumed.code, 0, resumed.text);
    assert.match(resumed.text, /resuming after step \d+ from stopped/);

    const [a, b] = await Promise.all(
      ["straight", "stopped"].map((name) =>
        readSafetensorsForTest(join(folder, name, "model.safetensors"))
      ),
    );
    assertSame(a, b); // the CPU device repeats bit by bit
  }));

Deno.test("seq_to_seq_with_transformer --held 0 --cut trains on all pairs, the long ones cut", () =>
  inFolder(async (folder) => {
    const lengths = ["--source-length", "5", "--target-length", "5"];
    await Deno.writeTextFile(
      join(folder, "pairs.txt"),
      "you run now here !\ttu cours ici !\n",
      { append: true },
    );
    const { code, text } = await run(folder, [
      ...[...small, ...lengths, "--held", "0", "--cut", "--epochs", "1"],
    ]);
    assert.equal(code, 0, text);
    assert.match(text, /31 pairs for training, 0 for validation .*; 1 too long, truncated/);
  }));

Deno.test("seq_to_seq_with_transformer's preset spec is the run it answers to", () => {
  assert.equal(parseOptions([]).options.preset, "tiny");
  const { options } = parseOptions(["--preset", "spec"]);
  const { held, cut, epochs, batch, lr, minLr, warmup, pairs } = options;
  assert.deepEqual({ held, cut, epochs, batch, lr, minLr, warmup, pairs }, {
    ...{ held: 0, cut: true, epochs: 400, batch: 1024, pairs: undefined },
    ...{ lr: 1e-3, minLr: 1e-3, warmup: 0 },
  });
});

Deno.test("seq_to_seq_with_transformer refuses what cannot be", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "bad.txt"), "Go.\tVa !\nRun!\n");
    await Deno.writeTextFile(join(folder, "cut.zip"), "PK\x03\x04");
    const refused = [
      [["--data", "bad.txt"], /bad\.txt: line 2: expected two sentences with a tab between them/],
      [["--data", "cut.zip"], /cut\.zip: incomplete zip archive/],
      [["--data", "pairs.txt", "--source-length", "2"], /expected pairs for training .* but got 0/],
      [["--heads", "5"], /--heads: expected heads of even size in --embed 96 but got 5/],
      [["--translate", "i run now ."], /expected a run of translator in runs\/ but got none/],
      [["--model", "x"], /--model requires --translate/],
    ] as const;
    await Promise.all(refused.map(async ([args, message]) => {
      const { code, text } = await run(folder, [...args, "--device", "cpu"]);
      assert.notEqual(code, 0);
      assert.match(text, message);
    }));
  }));
