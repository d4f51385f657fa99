/**
 * A contender in a process of its own, so that libraries do not fight over workers and a crash of one is not
 * the end of all. Contenders are timed in turns (A B A B), so that the drift of a busy machine cancels out.
 */
import { ANSWER, lines, type Order } from "./serve.ts";

/** The least that one timed run takes, in milliseconds, unless a single piece of work takes longer. */
const RUN_MS = 40;

/** How to start a contender. */
export interface ContenderOptions {
  /** What tables call it. */
  readonly name: string;
  /** Its program in this folder, of Deno, or of Python where it ends in `.py`. */
  readonly program: string;
  /** The program's arguments. */
  readonly args?: readonly string[];
  /** Flags of `deno run` in place of `-A`. */
  readonly permissions?: readonly string[];
  /** Environment variables. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A process that does what it is told and is timed. */
export class Contender implements Disposable {
  /** What tables call it. */
  readonly name: string;
  /** What it says of itself: library, device, threads. */
  description = "";
  /** Milliseconds per piece of work, one entry for each run since `prepare`. */
  readonly times: number[] = [];
  /** Milliseconds of the very first piece of work, compilation included. */
  firstTime = 0;
  readonly #child: Deno.ChildProcess;
  readonly #orders: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: AsyncGenerator<string>;
  #repeats = 1;

  private constructor({ name, program, args = [], permissions = ["-A"], env }: ContenderOptions) {
    this.name = name;
    const url = new URL(program, import.meta.url);
    const [command, before] = program.endsWith(".py")
      ? ["python3", [url.pathname]]
      : [Deno.execPath(), ["run", "--no-check", "--quiet", ...permissions, url.href]];
    this.#child = new Deno.Command(command, {
      args: [...before, ...args],
      env: { NO_COLOR: "1", ...env },
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#orders = this.#child.stdin.getWriter();
    this.#answers = lines(this.#child.stdout);
  }

  /** Starts a contender and waits until it is there. */
  static async start(options: ContenderOptions): Promise<Contender> {
    const contender = new Contender(options);
    contender.description = await contender.#answer() as string;
    return contender;
  }

  /** Sets up work, does it once, and finds out how often it fits into a run. */
  async prepare(work: string, size = 0): Promise<void> {
    this.times.length = 0;
    await this.#order({ prepare: work, size });
    this.firstTime = await this.#order({ run: 1 }) as number;
    for (this.#repeats = 1; this.#repeats < 1024; this.#repeats *= 2) {
      if (await this.#order({ run: this.#repeats }) as number >= RUN_MS) break;
    }
  }

  /** Sets up work and does it `count` times, not counting the times. */
  async warmUp(work: string, count: number): Promise<void> {
    this.times.length = 0;
    await this.#order({ prepare: work, size: 0 });
    for (let i = 0; i < count; i++) {
      const milliseconds = await this.#order({ run: 1 }) as number;
      if (i === 0) this.firstTime = milliseconds;
    }
    this.#repeats = 1;
  }

  /** Times one run. */
  async run(): Promise<void> {
    this.times.push(await this.#order({ run: this.#repeats }) as number / this.#repeats);
  }

  /** What the work reports. */
  report(): Promise<unknown> {
    return this.#order({ report: true });
  }

  /** The median time. */
  get median(): number {
    return median(this.times);
  }

  /** Ends the process. */
  [Symbol.dispose](): void {
    try {
      this.#child.kill();
    } catch {
      // It has ended by itself.
    }
  }

  async #order(order: Order): Promise<unknown> {
    await this.#orders.write(new TextEncoder().encode(JSON.stringify(order) + "\n"));
    return await this.#answer();
  }

  async #answer(): Promise<unknown> {
    while (true) {
      const { value: line, done } = await this.#answers.next();
      if (done) throw new Error(`${this.name} ended before it answered`);
      if (line.startsWith(ANSWER)) return JSON.parse(line.slice(ANSWER.length));
    }
  }
}

/** Starts contenders; one that cannot start is told of and left out. */
export async function startAll(options: readonly ContenderOptions[]): Promise<Contender[]> {
  const started: Contender[] = [];
  for (const option of options) {
    try {
      const contender = await Contender.start(option);
      console.log(`${contender.name}: ${contender.description}`);
      started.push(contender);
    } catch (error) {
      console.log(
        `${option.name} did not start: ${error instanceof Error ? error.message : error}`,
      );
    }
  }
  return started;
}

/** Times contenders in turns until `rounds` rounds are over, or `seconds` after at least two. */
export async function inTurns(
  contenders: readonly Contender[],
  rounds: number,
  seconds = Infinity,
): Promise<void> {
  const end = performance.now() + seconds * 1e3;
  for (let round = 0; round < rounds && (round < 2 || performance.now() < end); round++) {
    for (const contender of contenders) await contender.run();
  }
}

/** Headings of columns that compare with peers: `against jax-js`. */
export function comparedWith(peers: readonly Contender[]): string[] {
  return peers.map(({ name }) => `against ${name}`);
}

/** How many times faster a contender is than each peer; nothing for a peer. */
export function ratios(contender: Contender, peers: readonly Contender[]): string[] {
  return peers.map((peer) =>
    peers.includes(contender) ? "" : `${(peer.median / contender.median).toFixed(2)}x`
  );
}

/** The contenders that are not this project's. */
export function peersOf(contenders: readonly Contender[]): Contender[] {
  return contenders.filter(({ name }) => !name.startsWith("dinograd"));
}

/** The value in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** A table for people: the first column to the left, the others to the right. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join("  ")
  ).join("\n");
}
