import assert from "node:assert/strict";
import { specialise } from "../../src/device/template.ts";

Deno.test("specialise() leaves a program without constants and blocks as it is", () => {
  const source = "const TILE = 16u;\nfn f() { if (true) {return} }\n";
  assert.equal(specialise(source), source);
});

Deno.test("specialise() keeps the suffix and the type of a constant", () => {
  const source =
    "const A = 16u;\nconst B: i32 = 1i;\nconst C = 1e-5;\nconst D = 0.5f;\nconst E = 1;\n" +
    "const F = false;\nconst G: u32 = 4;\n";
  assert.equal(
    specialise(source, { A: 32, B: -2, C: 1, D: 3, E: 7, F: true, G: 8 }),
    "const A = 32u;\nconst B: i32 = -2i;\nconst C = 1.0;\nconst D = 3.0f;\nconst E = 7;\n" +
      "const F = true;\nconst G: u32 = 8;\n",
  );
  assert.equal(specialise("const C = 1.0;", { C: 1e-7 }), "const C = 1e-7;");
  assert.equal(specialise("const C = 1.0;", { C: "$&" }), "const C = $&;");
});

Deno.test("specialise() enables f16 once when an alias is f16", () => {
  assert.equal(specialise("alias T = f32;", { T: "f16" }), "enable f16;\nalias T = f16;");
  assert.equal(
    specialise("alias T = f32;", { T: "vec4<f16>" }),
    "enable f16;\nalias T = vec4<f16>;",
  );
  assert.equal(specialise("alias T = f32;", { T: "i32" }), "alias T = i32;");
  assert.equal(specialise("enable f16;\nalias T = f16;"), "enable f16;\nalias T = f16;");
});

Deno.test("specialise() throws when a constant is not in the program or not a number", () => {
  assert.throws(() => specialise("const A = 1;", { B: 2 }), /expected a line "const B = ...;"/);
  assert.throws(() => specialise("const AB = 1;", { A: 2 }), /expected a line "const A = ...;"/);
  assert.throws(() => specialise("const A = 1;", { A: NaN }), /a number as constant A but got NaN/);
});

Deno.test("specialise() repeats a block for each value", () => {
  const source = `const N = 2u;
//#repeat i 0..N
let a{i} = x[{i}u + {i*4+1}u];
//#end
done`;
  assert.equal(
    specialise(source).split("\n").slice(1).join("\n"),
    `let a0 = x[0u + 1u];
let a1 = x[1u + 5u];
done`,
  );
  assert.match(specialise(source, { N: 3 }), /let a2 = x\[2u \+ 9u\];\ndone$/);
  assert.equal(specialise("//#repeat i 3..3\nx\n//#end\ny"), "y");
});

Deno.test("specialise() nests blocks, with bounds and places in terms of outer ones", () => {
  const source = `const W = 4u;
//#repeat i 0..2
row{i}:
  //#repeat j i..W-2
  m{i*W+j} {j-i} {i} {x}
  //#end
//#end`;
  assert.deepEqual(specialise(source).split("\n").slice(1).map((line) => line.trim()), [
    "row0:",
    "m0 0 0 {x}",
    "m1 1 0 {x}",
    "row1:",
    "m5 0 1 {x}",
  ]);
});

Deno.test("specialise() names a block without an end and a bound that is not known", () => {
  assert.throws(
    () => specialise("//#repeat i 0..2\nx"),
    /expected an \/\/#end but got none for "\/\/#repeat i 0..2"/,
  );
  assert.throws(
    () => specialise("//#repeat i 0..N\nx\n//#end"),
    /expected a known number but got "N" in "N"/,
  );
});

Deno.test("specialise() keeps the lines under //#if where the constant is true or not 0", () => {
  const source = "const FAST = true;\nconst N = 0u;\n//#if FAST\na\n//#else\nb\n//#end\n" +
    "//#if N\nc\n//#end\nd";
  const lines = (constants = {}) => specialise(source, constants).split("\n").slice(2).join(" ");
  assert.equal(lines(), "a d");
  assert.equal(lines({ FAST: false, N: 2 }), "b c d");
  assert.throws(
    () => specialise("//#if M\na\n//#end"),
    /expected a known constant but got "\/\/#if M"/,
  );
  assert.throws(
    () => specialise("const M = 1;\n//#if M\na\n//#else\nb"),
    /got none for "\/\/#if M"/,
  );
});

Deno.test("specialise() takes the //#else of its own block, also inside //#repeat", () => {
  const source = "const A = false;\nconst B = true;\n//#repeat i 0..2\n//#if A\n//#if B\nx\n" +
    "//#else\ny\n//#end\n//#else\nz{i}\n//#end\n//#end";
  assert.equal(specialise(source).split("\n").slice(2).join(" "), "z0 z1");
  assert.equal(specialise(source, { A: true }).split("\n").slice(2).join(" "), "x x");
  assert.equal(specialise(source, { A: true, B: false }).split("\n").slice(2).join(" "), "y y");
});

Deno.test("specialise() repeats a block for each word", () => {
  const source = "//#repeat x of a b\nfn load_{x}() -> f32 { return {x}[{i}]; }\n//#end";
  assert.equal(
    specialise(source),
    "fn load_a() -> f32 { return a[{i}]; }\nfn load_b() -> f32 { return b[{i}]; }",
  );
});
