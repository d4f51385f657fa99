import assert from "node:assert/strict";
import { einsum } from "../../src/ops/einsum.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { ones, tensor, zeros } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { type Shape, sizeOf, stridesOf } from "../../src/tensor/shape.ts";
import { assertSame } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";
import { assertReference } from "../support/reference.ts";

/** An explicit equation without ellipses, by one loop over all letters; axes of length 1 broadcast. */
function naive(equation: string, shapes: readonly Shape[]) {
  const [left, output] = equation.split("->");
  const inputs = left.split(",");
  const sizes = new Map<string, number>();
  inputs.forEach((part, i) =>
    [...part].forEach((letter, axis) =>
      sizes.set(letter, Math.max(sizes.get(letter) ?? 1, shapes[i][axis]))
    )
  );
  const letters = [...sizes.keys()];
  const all = letters.map((letter) => sizes.get(letter)!);
  const shape = [...output].map((letter) => sizes.get(letter)!);
  const offset = (part: string, own: Shape, at: readonly number[]) => {
    const strides = stridesOf(own);
    return [...part].reduce(
      (sum, letter, axis) =>
        sum + (own[axis] === 1 ? 0 : strides[axis] * at[letters.indexOf(letter)]),
      0,
    );
  };
  return (...values: Float64Array[]): Float64Array => {
    const y = new Float64Array(sizeOf(shape));
    const strides = stridesOf(all);
    for (let i = 0; i < sizeOf(all); i++) {
      const at = all.map((length, axis) => Math.floor(i / strides[axis]) % length);
      const product = values.reduce(
        (value, x, k) => value * x[offset(inputs[k], shapes[k], at)],
        1,
      );
      y[offset(output, shape, at)] += product;
    }
    return y;
  };
}

/** Equation, shapes, and what the naive loop computes where it does not know the notation. */
const CASES: [string, Shape[], string?][] = [
  ["ij,jk->ik", [[3, 4], [4, 5]]],
  ["ij,kj->ik", [[3, 4], [5, 4]]],
  ["ji,jk->ki", [[4, 3], [4, 5]]],
  ["bij,bjk->bik", [[2, 3, 4], [2, 4, 5]]],
  ["ibj,jkb->kib", [[3, 2, 4], [4, 5, 2]]],
  ["bhqd,bhkd->bhqk", [[2, 2, 3, 4], [2, 2, 5, 4]]],
  ["bqhd,bkhd->bhqk", [[2, 3, 2, 4], [2, 5, 2, 4]]],
  ["i,j->ij", [[3], [4]]],
  ["i,i->i", [[3], [3]]],
  ["i,i->", [[3], [3]]],
  ["ij->ji", [[3, 4]]],
  ["ij->", [[3, 4]]],
  ["ii->i", [[4, 4]]],
  ["ii->", [[4, 4]]],
  ["iji->j", [[3, 4, 3]]],
  ["ij,ij->ij", [[3, 4], [3, 4]]],
  ["ij,k->ik", [[3, 4], [5]]],
  ["bn,anm,bm->ba", [[2, 3], [4, 3, 5], [2, 5]]],
  ["ij,jk,kl->il", [[2, 3], [3, 4], [4, 5]]],
  ["ij,j->ij", [[3, 1], [4]]],
  ["ij,jk->ik", [[3, 1], [4, 5]]],
  ["bij,bjk->bik", [[1, 3, 4], [2, 4, 5]]],
  ["ij , jk", [[3, 4], [4, 5]], "ij,jk->ik"],
  ["ba", [[3, 4]], "ba->ab"],
  ["ii", [[3, 3]], "ii->"],
  ["...ij,...jk->...ik", [[2, 3, 4], [2, 4, 5]], "bij,bjk->bik"],
  ["...ij,jk->...ik", [[2, 2, 3, 4], [4, 5]], "abij,jk->abik"],
  ["i...,...j", [[3, 2], [5, 2, 4]], "ib,abj->abij"],
  ["...i->i...", [[2, 3, 4]], "abi->iab"],
  ["...i->i", [[2, 3, 4]], "abi->i"],
  ["...,...", [[3], [2, 3]], "b,ab->ab"],
];

await onEachDevice(
  "einsum() and its gradients are those of a loop over all letters",
  async (device) => {
    for (const [equation, shapes, spelled = equation] of CASES) {
      await assertReference(
        device,
        shapes.map((shape) => ({ shape })),
        (...operands) => einsum(equation, ...operands),
        naive(spelled, shapes),
        `einsum "${equation}"`,
      );
    }
  },
);

await onEachDevice(
  "einsum() of shapes: order of the output, nothing, one operand",
  async (device) => {
    using _scope = new Scope();
    const x = ones([2, 3], { device });
    assert.deepEqual(einsum("ij,jk->ki", x, ones([3, 4], { device })).shape, [4, 2]);
    assert.deepEqual(
      einsum("i...,...j", ones([3, 2], { device }), ones([5, 2, 4], { device })).shape,
      [5, 2, 3, 4],
    );
    const none = einsum("ij,jk->ik", zeros([2, 0], { device }), zeros([0, 3], { device }));
    assert.deepEqual(await none.toArray(), [[0, 0, 0], [0, 0, 0]]);
    const same = einsum("ij->ij", x);
    assert.notEqual(same, x);
    same.dispose();
    assert.deepEqual(await x.toArray(), [[1, 1, 1], [1, 1, 1]]);
  },
);

await onEachDevice("einsum() of a product is matmul(), to the bit", async (device) => {
  using _scope = new Scope();
  const a = tensor([[1.5, 2, 3], [4, 5, 6.25]], { device });
  const b = tensor([[1, 2, 3], [7, 8, 9.5]], { device });
  assertSame(
    await einsum("ij,kj->ik", a, b).data(),
    await matmul(a, b, { transposeB: true }).data(),
  );
});

await onEachDevice("einsum() says what is wrong", (device) => {
  using _scope = new Scope();
  const x = ones([2, 3], { device });
  const refused = (equation: string, message: RegExp, ...more: typeof x[]) =>
    assert.throws(() => einsum(equation, x, ...more), { name: "TypeError", message });
  refused("ij->jk", /^einsum: expected letters of the operands in the output, .*"k"/);
  refused("ij,jk->ik", /expected subscripts for 1 operands but got "ij,jk->ik"/);
  refused("i1->i", /expected letters and "\.\.\."/);
  refused("ij->i->j", /expected letters and "\.\.\."/);
  refused("ijk->i", /as many letters as operand 0 of shape \[2, 3\] has axes/);
  refused("i->i", /as many letters as operand 0/);
  refused("ij->ii", /no letter twice in the output/);
  refused("ii->i", /axes of one length for each letter of "ii->i" but got shapes \[2, 3\]/);
  refused("ij,jk->ik", /axes of one length .* \[2, 3\] and \[2, 3\]/, x);
});
