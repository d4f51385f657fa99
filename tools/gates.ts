/**
 * Runs every gate that the project must pass, and sums up: `deno task ok`. Gates after a failed one run all
 * the same. The last line is `N passed, N failed`, tests and gates counted together.
 */
const gates: [name: string, ...args: string[]][] = [
  ["formatting", "fmt", "--check", "--quiet"],
  ["lint", "lint", "--quiet"],
  ["types", "check", "--quiet", "."],
  ["documentation", "doc", "--lint", "mod.ts", "kernel.ts"],
  ["WASM kernels are those of their sources", "run", "-A", "kernels/wasm/build.ts", "--check"],
  ["publishing", "publish", "--dry-run", "--allow-dirty", "--quiet"],
  ["tests", "task", "--quiet", "test"],
  ["tests on Dawn", "task", "--quiet", "test:dawn"],
];

let passed = 0;
let failed = 0;
for (const [name, ...args] of gates) {
  const started = performance.now();
  const isTests = name.startsWith("tests");
  const { success, text } = await run(args, isTests);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  // The tests on Dawn are several processes.
  for (const counts of isTests ? text.matchAll(/(\d+) passed.*?\| (\d+) failed/g) : []) {
    passed += Number(counts[1]);
    failed += Number(counts[2]);
  }
  if (success) passed++;
  else failed++;
  console.log(`${success ? "ok    " : "FAILED"} ${name} (${seconds} s)`);
  if (!success && !isTests) console.log(text.trimEnd().split("\n").slice(-40).join("\n"));
}
console.log(`${passed} passed, ${failed} failed`);
Deno.exit(failed ? 1 : 0);

/** Runs Deno; what it prints is kept, and shown at once where `echo` asks for it. */
async function run(args: string[], echo: boolean): Promise<{ success: boolean; text: string }> {
  const child = new Deno.Command(Deno.execPath(), {
    args,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let text = "";
  const collect = async (stream: ReadableStream<Uint8Array>) => {
    const decoder = new TextDecoder();
    for await (const part of stream) {
      text += decoder.decode(part, { stream: true });
      if (echo) Deno.stdout.writeSync(part);
    }
  };
  const [{ success }] = await Promise.all([
    child.status,
    collect(child.stdout),
    collect(child.stderr),
  ]);
  return { success, text };
}
