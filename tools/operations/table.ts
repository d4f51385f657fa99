/**
 * Runs every case of `cases.ts` on a device in every dtype, and writes what happened as a table.
 *
 * @module
 */
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import type { Device } from "../../src/device/device.ts";
import { arrayOf, type DType, isFloat } from "../../src/device/dtype.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";
import { Inputs, type OperationCase } from "./case.ts";
import { groups } from "./cases.ts";

/** The dtypes, a column each. */
export const DTYPES: readonly DType[] = ["f32", "f16", "i32", "u32"];

/** What became of one call: right values with or without a gradient, or an error that names the operation. */
export type Outcome = "gradient" | "values" | "refused";

/** Outcomes by call and dtype, of one device; a dtype that the device has not is left out. */
export type Column = ReadonlyMap<string, ReadonlyMap<DType, Outcome>>;

/** The largest difference from the reference values, relative to the larger of 1 and the value. */
const TOLERANCE: Readonly<Record<string, number>> = { f32: 1e-5, f16: 4e-3, i32: 0, u32: 0 };

/** What a call gave, not read yet. */
interface Attempt {
  readonly outcome: Outcome;
  /** The results, then the gradients of the inputs. */
  readonly tensors: readonly Tensor[];
}

/**
 * Runs every case on `device` and compares values and gradients with those of the reference implementations. Throws a
 * list of all that is neither right nor a clear refusal.
 */
export async function runOperations(device: Device): Promise<Column> {
  using reference = CpuDevice.open({ threads: 1, simd: false });
  const problems: string[] = [];
  const column = new Map<string, Map<DType, Outcome>>();
  for (const one of groups.flatMap((group) => group.cases)) {
    using _scope = new Scope();
    const outcomes = new Map<DType, Outcome>();
    column.set(one.call, outcomes);
    const attempts: { dtype: DType; found: Attempt; expected: Attempt }[] = [];
    const problem = (dtype: string, what: unknown) =>
      problems.push(`${one.call} in ${dtype} on ${device.kind}: ${what}`);
    for (const dtype of DTYPES) {
      if (!device.dtypes.has(dtype)) continue;
      try {
        const found = attempt(one, device, dtype);
        attempts.push({ dtype, found, expected: attempt(one, reference, dtype) });
        outcomes.set(dtype, found.outcome);
      } catch (error) {
        problem(dtype, error);
      }
    }
    try {
      // All dtypes in one wait, which is expensive on WebGPU.
      const found = await readTensors(attempts.flatMap((one) => one.found.tensors));
      const expected = await readTensors(attempts.flatMap((one) => one.expected.tensors));
      let at = 0;
      for (
        const { dtype, found: { outcome, tensors }, expected: { outcome: wanted } } of attempts
      ) {
        if (outcome !== wanted) problem(dtype, `expected ${wanted} but got ${outcome}`);
        for (const _ of tensors) {
          compare(found[at], expected[at], TOLERANCE[dtype], (what) => problem(dtype, what));
          at++;
        }
      }
    } catch (error) {
      problem("some dtype", error);
    }
  }
  if (problems.length) {
    throw new Error(`Operations neither work nor refuse clearly:\n${problems.join("\n")}`);
  }
  return column;
}

function attempt(one: OperationCase, device: Device, dtype: DType): Attempt {
  const inputs = new Inputs(device, dtype);
  let results: readonly Tensor[];
  try {
    const result = one.run(inputs);
    results = Array.isArray(result) ? result : [result as Tensor];
  } catch (error) {
    // The name may be that of an operation which this one is made of.
    if (!(error instanceof TypeError && /^\w+: expected /.test(error.message))) throw error;
    return { outcome: "refused", tensors: [] };
  }
  const differentiated = takeGradient(results[0], inputs);
  const grads = differentiated ? inputs.leaves.map((leaf) => leaf.grad!) : [];
  return { outcome: differentiated ? "gradient" : "values", tensors: [...results, ...grads] };
}

/** True where every input has a gradient now; throws unless that or a clear refusal comes of asking. */
function takeGradient(result: Tensor, { leaves, device }: Inputs): boolean {
  if (!isFloat(result.dtype)) return false;
  const numbers = Array.from({ length: result.size }, (_, i) => (i * 3 % 7 + 1) / 4);
  const seed = tensor(arrayOf(result.dtype, numbers), { shape: result.shape, device });
  try {
    result.backward(seed);
  } catch (error) {
    const clear = /without a gradient|depends on one that requires a gradient/;
    if (error instanceof Error && clear.test(error.message)) return false;
    throw error;
  }
  const without = leaves.filter((leaf) => leaf.grad === null);
  if (without.length) throw new Error(`No gradient came to ${without.join(" and ")}`);
  return true;
}

function compare(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  report: (what: string) => void,
): void {
  for (let i = 0; i < expected.length; i++) {
    const near = Object.is(found[i], expected[i]) ||
      Math.abs(found[i] - expected[i]) <= tolerance * Math.max(1, Math.abs(expected[i]));
    if (!near) return report(`expected ${expected[i]} as element ${i} but got ${found[i]}`);
  }
}

/** The page of the documentation, from the columns of both devices. */
export function renderTable(columns: { readonly cpu: Column; readonly webgpu: Column }): string {
  const devices = [columns.cpu, columns.webgpu];
  const lines = [
    "# Operations",
    "",
    "Written by `deno run -A tools/operations_table.ts`, which makes every call below on both devices and",
    "compares values and gradients with those of the reference implementations; a test keeps this page up to",
    "date. Do not edit it.",
    "",
    "- **✓** the call gives the right values for arguments of this dtype; **–** it throws a `TypeError` that",
    "  names the operation and what it got.",
    "- **gradient**: *yes*, of every argument that is a tensor of floats (integers have none); *no*:",
    "  asking for it throws an error that says so.",
    "- `f16` on WebGPU needs an adapter with `shader-f16`. Every operation throws when its arguments are on",
    "  different devices.",
    "- `x` and `y` are tensors; ids and masks are `i32` or `u32` whatever the column says.",
  ];
  for (const { file, title, cases } of groups) {
    lines.push(
      "",
      `## ${title}`,
      "",
      `[\`src/ops/${file}\`](../src/ops/${file})`,
      "",
      `| | CPU: f32 | f16 | i32 | u32 | WebGPU: f32 | f16 | i32 | u32 | gradient |`,
      `| --- |${" :-: |".repeat(2 * DTYPES.length + 1)}`,
    );
    for (const { call } of cases) {
      const outcomes = devices.flatMap((column) =>
        DTYPES.map((dtype) => column.get(call)!.get(dtype))
      );
      const cells = outcomes.map((outcome) =>
        outcome === undefined ? "?" : outcome === "refused" ? "–" : "✓"
      );
      lines.push(`| \`${call}\` | ${cells.join(" | ")} | ${gradientOf(call, devices)} |`);
    }
  }
  return lines.join("\n") + "\n";
}

/** Whether floats have a gradient; all dtypes and devices must agree. */
function gradientOf(call: string, devices: readonly Column[]): "yes" | "no" {
  const outcomes = devices.flatMap((column) =>
    [...column.get(call)!].filter(([dtype]) => isFloat(dtype)).map(([, outcome]) => outcome)
  );
  if (outcomes.every((outcome) => outcome !== "gradient")) return "no";
  if (outcomes.every((outcome) => outcome === "gradient")) return "yes";
  throw new Error(`${call} has a gradient in some dtypes or on some devices only`);
}
