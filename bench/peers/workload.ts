/**
 * What every contender works on: a GPT-2 whose weights and tokens come from one hash, so that the losses
 * of all of them can be compared, and the matrices to multiply.
 */

/** The GPT-2 of 7,487,232 parameters. */
export const GPT = { vocab: 756, context: 256, embed: 384, layers: 4, heads: 6, hidden: 1536 };

/** Sequences in a batch. */
export const BATCH = 4;

/** AdamW as each contender runs it; only matrices decay. */
export const ADAMW = { lr: 3e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };

/** The losses before the first three updates, which independent implementations agree on. */
export const LOSSES = [6.70693, 6.26937, 5.83942];

/** A parameter as the peers hold it: linear weights are (inputs, outputs), q, k and v side by side. */
export interface Parameter {
  /** Lengths of its axes. */
  readonly shape: readonly number[];
  /** Its values, row by row. */
  readonly data: Float32Array<ArrayBuffer>;
}

/** `count` numbers of 32 bits that depend on `seed` alone. */
function hash(count: number, seed: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => {
    const mixed = Math.imul(i, 2654435761) + seed * 40503 >>> 0;
    const x = Math.imul(mixed ^ mixed >>> 16, 0x85ebca6b) >>> 0;
    return x ^ x >>> 13;
  });
}

/**
 * The parameters by name: `tok` (V, E), `pos` (T, E), `ln.g`, `ln.b`, and for every layer i `i.ln1.g`,
 * `i.qkv.w` (E, 3 E), `i.qkv.b`, `i.proj`, `i.ln2`, `i.up` and `i.down` alike.
 */
export function initialParameters(): Map<string, Parameter> {
  const parameters = new Map<string, Parameter>();
  let seed = 0;
  const matrix = (name: string, rows: number, columns: number): void => {
    const data = Float32Array.from(
      hash(rows * columns, seed++),
      (x) => (x / 2 ** 32 - 0.5) * 0.07,
    );
    parameters.set(name, { shape: [rows, columns], data });
  };
  const vector = (name: string, length: number, value: number): void => {
    parameters.set(name, { shape: [length], data: new Float32Array(length).fill(value) });
  };
  const linear = (name: string, inputs: number, outputs: number): void => {
    matrix(`${name}.w`, inputs, outputs);
    vector(`${name}.b`, outputs, 0);
  };
  const norm = (name: string): void => {
    vector(`${name}.g`, GPT.embed, 1);
    vector(`${name}.b`, GPT.embed, 0);
  };
  matrix("tok", GPT.vocab, GPT.embed);
  matrix("pos", GPT.context, GPT.embed);
  for (let i = 0; i < GPT.layers; i++) {
    norm(`${i}.ln1`);
    linear(`${i}.qkv`, GPT.embed, 3 * GPT.embed);
    linear(`${i}.proj`, GPT.embed, GPT.embed);
    norm(`${i}.ln2`);
    linear(`${i}.up`, GPT.embed, GPT.hidden);
    linear(`${i}.down`, GPT.hidden, GPT.embed);
  }
  norm("ln");
  return parameters;
}

/** Ids and the ids that follow them, `BATCH` rows of a whole context each. */
export function trainingTokens(): { ids: Int32Array; targets: Int32Array } {
  const stream = Int32Array.from(hash(BATCH * GPT.context + 1, 777), (x) => x % GPT.vocab);
  return { ids: stream.slice(0, -1), targets: stream.slice(1) };
}

/** Where greedy decoding starts and how long the sequences are at its end. */
export const DECODE = { from: 16, until: 240 };

/** A prompt of `DECODE.from` ids for each of `batch` rows. */
export function prompts(batch: number): Int32Array[] {
  return Array.from(
    { length: batch },
    (_, row) => Int32Array.from(hash(DECODE.from, 778 + row), (x) => x % GPT.vocab),
  );
}

/** An n x n matrix of numbers in [-0.5, 0.5). */
export function randomMatrix(n: number, seed: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(hash(n * n, seed), (x) => x / 2 ** 32 - 0.5);
}
