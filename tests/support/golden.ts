/**
 * Reads a folder of golden values (PyTorch's numbers; its README.md says what is in it), compares with them,
 * and keeps the table of the worst errors.
 *
 * @module
 */
import { SafetensorsFile } from "../../src/io/safetensors.ts";
import type { Device } from "../../src/device/device.ts";
import { tensor } from "../../src/tensor/create.ts";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";

/** A stored tensor. */
export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** One case of an operator family. */
export interface GoldenCase {
  readonly name: string;
  readonly op: string;
  // deno-lint-ignore no-explicit-any -- as the manifest has them
  readonly attrs: Record<string, any>;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly grads: readonly string[];
  readonly tolerance: Record<string, number>;
}

const chosen = Deno.env.get("GOLDEN_DIR");

/** The folder: `GOLDEN_DIR`, or the project's own. */
export const folder: string = chosen ?? new URL("../golden", import.meta.url).pathname;

/** The names of its files. */
export const files: ReadonlySet<string> = new Set(
  [...Deno.readDirSync(folder)].map(({ name }) => name),
);

/** A JSON file of the folder. */
// deno-lint-ignore no-explicit-any -- checked by use
export function manifest(name: string): any {
  return JSON.parse(Deno.readTextFileSync(`${folder}/${name}.json`));
}

/** All tensors of a safetensors file of the folder. */
export async function tensorsOf(name: string): Promise<Map<string, GoldenTensor>> {
  using file = await SafetensorsFile.open(`${folder}/${name}.safetensors`);
  const found = new Map<string, GoldenTensor>();
  for (const [key, { dtype, shape }] of file.tensors) {
    if (dtype !== "F32" && dtype !== "I32") throw new Error(`${name}: "${key}" is ${dtype}`);
    found.set(key, { shape, data: await file.read(key) as Float32Array | Int32Array });
  }
  return found;
}

/** The tensor of that name; throws when the file has none. */
export function pick(tensors: ReadonlyMap<string, GoldenTensor>, name: string): GoldenTensor {
  const found = tensors.get(name);
  if (!found) throw new Error(`The golden file has no tensor "${name}"`);
  return found;
}

/** It on a device. */
export function upload({ shape, data }: GoldenTensor, device: Device): Tensor {
  return tensor(data, { device, shape });
}

/** What is known of one family on one device. */
class Row {
  cases = 0;
  worst = 0;
  where = "";
  constructor(readonly family: string, readonly device: string) {}
}

const rows: Row[] = [];

/** Collects the comparisons of a family on a device; `finish` throws what was out of tolerance. */
export class Comparison {
  readonly #row: Row;
  readonly #failures: string[] = [];

  /** Adds a row to the table. */
  constructor(family: string, device: string) {
    this.#row = new Row(family, device);
    rows.push(this.#row);
  }

  /** Runs one case; what it throws fails the family, but only after the other cases. */
  async run(name: string, body: () => void | Promise<void>): Promise<void> {
    this.#row.cases++;
    try {
      await body();
    } catch (error) {
      this.#failures.push(`${name}: ${error instanceof Error ? error.message : error}`);
    }
  }

  /** Holds numbers against expected ones, all within `tolerance`. */
  values(
    name: string,
    found: ArrayLike<number>,
    expected: ArrayLike<number>,
    tolerance: number,
  ): void {
    if (found.length !== expected.length) {
      this.#failures.push(`${name}: ${found.length} elements, expected ${expected.length}`);
      return;
    }
    let error = 0;
    let at = 0;
    for (let i = 0; i < expected.length; i++) {
      const difference = found[i] === expected[i] ? 0 : Math.abs(found[i] - expected[i]);
      if (!(difference <= error)) [error, at] = [difference, i];
      if (Number.isNaN(difference)) break;
    }
    // NaN is the worst error of all.
    const ratio = Number.isNaN(error) ? Infinity : error === 0 ? 0 : error / tolerance;
    if (ratio >= this.#row.worst) [this.#row.worst, this.#row.where] = [ratio, name];
    if (ratio > 1) {
      this.#failures.push(
        `${name}: element ${at} is ${found[at]}, expected ${expected[at]} within ${tolerance}`,
      );
    }
  }

  /** Holds one number against the expected one, within a relative tolerance. */
  relative(name: string, found: number, expected: number, tolerance: number): void {
    this.values(name, [found], [expected], tolerance * Math.abs(expected));
  }

  /** Holds tensors, shapes too, against golden ones; reads them all at once. */
  async tensors(
    list: readonly { name: string; found: Tensor; expected: GoldenTensor; tolerance: number }[],
  ): Promise<void> {
    const values = await readTensors(list.map(({ found }) => found));
    list.forEach(({ name, found, expected, tolerance }, i) => {
      if (`${found.shape}` !== `${expected.shape}`) {
        this.#failures.push(`${name}: shape [${found.shape}], expected [${expected.shape}]`);
      } else this.values(name, values[i], expected.data, tolerance);
    });
  }

  /** Throws what failed. */
  finish(): void {
    if (this.#failures.length) throw new Error(this.#failures.join("\n"));
  }
}

/** The table of worst errors. */
export function report(): string {
  const cells = rows.map((row) => [
    row.family,
    row.device,
    String(row.cases),
    row.worst.toPrecision(3),
    row.where,
  ]);
  const head = ["family", "device", "cases", "worst error / tolerance", "at"];
  const widths = head.map((title, i) => Math.max(title.length, ...cells.map((c) => c[i].length)));
  const line = (parts: string[]) => parts.map((part, i) => part.padEnd(widths[i])).join("  ");
  return [
    `Golden values of ${folder}`,
    line(head),
    line(widths.map((width) => "-".repeat(width))),
    ...cells.map(line),
  ].map((text) => text.trimEnd()).join("\n");
}
