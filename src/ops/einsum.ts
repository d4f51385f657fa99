/**
 * Sums of products in Einstein's notation.
 *
 * @module
 */
import { constant } from "../tensor/create.ts";
import { scoped } from "../tensor/scope.ts";
import { formatShape, type Shape, sizeOf, stridesOf } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { checkFloat, sameDevice, sameDType } from "./check.ts";
import { mul } from "./elementwise.ts";
import { copyStrided, writeStrided } from "./launch.ts";
import { matmul } from "./matmul.ts";
import { sum } from "./reduce.ts";
import { permute, reshape } from "./shape.ts";

/** A tensor with a label for each axis: a letter, or a number for an axis of the ellipsis. */
interface Term {
  readonly x: Tensor;
  readonly labels: readonly string[];
}

/**
 * Returns the sum of products that `equation` describes, by the rules of PyTorch's `einsum`. Each operand has one
 * letter per axis. Axes with the same letter are matched, and letters missing from the output are summed over. `...`
 * stands for further axes, which broadcast. A letter that occurs twice in one operand takes the diagonal. Without `->`,
 * the output has the axes of the ellipsis, then the letters that occur once, in alphabetical order. Floats only.
 *
 * Operands are multiplied from left to right, two at a time, with one `matmul` each (`mul` where nothing is summed
 * over).
 *
 * Throws a `TypeError` if the equation is malformed or does not fit the shapes, or if dtypes or devices differ.
 *
 * @example Scores of attention
 * ```ts
 * import { CpuDevice, einsum, ones } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using q = ones([2, 4, 5, 8], { device }); // (B, H, T, D)
 * using k = ones([2, 4, 6, 8], { device });
 * using scores = einsum("bhqd,bhkd->bhqk", q, k);
 * assert.deepEqual(scores.shape, [2, 4, 5, 6]);
 * ```
 */
export function einsum(equation: string, ...operands: readonly Tensor[]): Tensor {
  if (operands.length === 0) {
    throw new TypeError("einsum: expected at least one tensor but got none");
  }
  sameDevice("einsum", ...operands);
  checkFloat("einsum", ...operands);
  sameDType("einsum", ...operands);
  const { inputs, output } = parse(equation, operands);
  const sizes = sizesOf(equation, operands, inputs);
  return scoped(() => {
    const terms = operands.map((x, i) => prepare({ x, labels: inputs[i]! }, sizes));
    let result = terms[0]!;
    for (let i = 1; i < terms.length; i++) {
      const later = terms.slice(i + 1).flatMap(({ labels }) => labels);
      result = multiply(result, terms[i]!, new Set([...output, ...later]));
    }
    const { x } = arrange(sumExcept(result, new Set(output)), output);
    return reshape(x, x.shape); // never an operand itself
  });
}

/** The labels of the operands' axes and of the output's. */
function parse(
  equation: string,
  operands: readonly Tensor[],
): { inputs: string[][]; output: string[] } {
  const wrong = (what: string) => new TypeError(`einsum: expected ${what} but got "${equation}"`);
  const [left = "", right, ...more] = equation.replaceAll(/\s/g, "").split("->");
  const subscripts = left.split(",");
  const wellFormed = [...subscripts, right ?? ""].every((part) =>
    /^[a-zA-Z]*(\.\.\.[a-zA-Z]*)?$/.test(part)
  );
  if (more.length || !wellFormed) throw wrong(`letters and "..." as in "ij,jk->ik"`);
  if (subscripts.length !== operands.length) {
    throw wrong(`subscripts for ${operands.length} operands`);
  }
  const letters = (part: string) => [...part.replace("...", "")];
  const further = subscripts.map((part, i) => {
    const { shape } = operands[i]!;
    const count = shape.length - letters(part).length;
    if (count === 0 || (count > 0 && part.includes("..."))) return count;
    throw wrong(
      `as many letters as operand ${i} of shape ${formatShape(shape)} has axes`,
    );
  });
  // The axes of an ellipsis are numbered from the right.
  const ellipsis = (count: number) => Array.from({ length: count }, (_, i) => `${count - i}`);
  const expand = (part: string, count: number): string[] => {
    const [before = "", after = ""] = part.split("...");
    return [...before, ...part.includes("...") ? ellipsis(count) : [], ...after];
  };
  const inputs = subscripts.map((part, i) => expand(part, further[i]!));
  const furthest = Math.max(...further);
  if (right === undefined) {
    const all = subscripts.flatMap(letters);
    const once = all.filter((letter) => all.indexOf(letter) === all.lastIndexOf(letter)).sort();
    return { inputs, output: [...ellipsis(furthest), ...once] };
  }
  const output = expand(right, furthest);
  if (new Set(output).size !== output.length) throw wrong("no letter twice in the output");
  const known = new Set(inputs.flat());
  const unknown = output.find((label) => !known.has(label));
  if (unknown) throw wrong(`letters of the operands in the output, which "${unknown}" is not,`);
  return { inputs, output };
}

/** The length of each label. Where operands have an axis of length 1, the others decide. */
function sizesOf(
  equation: string,
  operands: readonly Tensor[],
  inputs: readonly (readonly string[])[],
): Map<string, number> {
  const sizes = new Map<string, number>();
  operands.forEach(({ shape }, i) => {
    const labels = inputs[i]!;
    labels.forEach((label, axis) => {
      const known = sizes.get(label) ?? 1;
      const length = shape[axis]!;
      const broadcasts = labels.indexOf(label) === axis && (known === 1 || length === 1);
      if (length !== known && !broadcasts) {
        throw new TypeError(
          `einsum: expected axes of one length for each letter of "${equation}" but got shapes ` +
            operands.map((one) => formatShape(one.shape)).join(" and "),
        );
      }
      if (known === 1) sizes.set(label, length);
    });
  });
  return sizes;
}

/** Takes the diagonal of repeated labels, and drops axes of length 1 that broadcast. */
function prepare({ x, labels }: Term, sizes: ReadonlyMap<string, number>): Term {
  const own = [...new Set(labels)];
  if (own.length < labels.length) {
    const steps = stridesOf(x.shape);
    const strides = own.map((label) =>
      labels.reduce((total, other, axis) => other === label ? total + steps[axis]! : total, 0)
    );
    x = diagonal(x, own.map((label) => x.shape[labels.indexOf(label)]!), strides);
  }
  const { shape } = x;
  const kept = own.filter((label, axis) => shape[axis] === sizes.get(label));
  if (kept.length < own.length) x = reshape(x, kept.map((label) => sizes.get(label)!));
  return { x, labels: kept };
}

function diagonal(x: Tensor, shape: Shape, strides: readonly number[]): Tensor {
  const { shape: before } = x;
  return record("einsum", [x], copyStrided(x, shape, strides, 0), [], (dOut) => {
    const dX = constant(dOut.device, before, 0, dOut.dtype);
    writeStrided(dOut, dX, strides, 0);
    return [dX];
  });
}

/** The product of two terms, summed over the labels that are no longer needed. */
function multiply(left: Term, right: Term, needed: ReadonlySet<string>): Term {
  const a = sumExcept(left, new Set([...needed, ...right.labels]));
  const b = sumExcept(right, new Set([...needed, ...left.labels]));
  const shared = a.labels.filter((label) => b.labels.includes(label));
  const batch = shared.filter((label) => needed.has(label));
  const summed = shared.filter((label) => !needed.has(label));
  const rows = a.labels.filter((label) => !shared.includes(label));
  const columns = b.labels.filter((label) => !shared.includes(label));
  const lengths = new Map(
    [a, b].flatMap(({ x, labels }) =>
      labels.map((label, axis): [string, number] => [label, x.shape[axis]!])
    ),
  );
  const [x, transposeA] = matrices(a, batch, rows, summed);
  const [y, transposeB] = matrices(b, batch, summed, columns);
  const product = summed.length ? matmul(x, y, { transposeA, transposeB }) : mul(x, y);
  const labels = [...batch, ...rows, ...columns];
  return { x: reshape(product, labels.map((label) => lengths.get(label)!)), labels };
}

/** A term as matrices (batch, rows, columns), or transposed where that avoids a copy. */
function matrices(
  term: Term,
  batch: readonly string[],
  rows: readonly string[],
  columns: readonly string[],
): [Tensor, transposed: boolean] {
  const transposed = rows.length > 0 && columns.length > 0 &&
    [...batch, ...columns, ...rows].every((label, axis) => label === term.labels[axis]);
  const axes = transposed ? [columns, rows] : [rows, columns];
  const { x } = arrange(term, [...batch, ...axes.flat()]);
  const groups = [...batch.length ? [batch] : [], ...axes];
  let at = 0;
  const shape = groups.map(({ length }) => sizeOf(x.shape.slice(at, at += length)));
  return [reshape(x, shape), transposed];
}

/** The term with its axes in this order. */
function arrange(term: Term, labels: readonly string[]): Term {
  const order = labels.map((label) => term.labels.indexOf(label));
  if (order.every((axis, i) => axis === i)) return term;
  return { x: permute(term.x, order), labels };
}

/** The term summed over the labels that are not kept. */
function sumExcept(term: Term, kept: ReadonlySet<string>): Term {
  const axes = term.labels.flatMap((label, axis) => kept.has(label) ? [] : [axis]);
  if (axes.length === 0) return term;
  return { x: sum(term.x, axes), labels: term.labels.filter((label) => kept.has(label)) };
}
