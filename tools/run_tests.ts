/**
 * Runs all tests with a WebGPU adapter: `deno task test [arguments of deno test]`. On Linux that is Mesa's software
 * adapter out of the distribution's package, whatever else the machine has, so that everyone tests on the same;
 * on Debian and Ubuntu it is installed where it is missing, and so are Open MPI and MPICH, for training on several ranks.
 * `VK_DRIVER_FILES` chooses another driver. The first line says which adapter it is.
 *
 * `--dawn` runs those of kernels, operations, the WebGPU device and the golden values on the other implementation of
 * WebGPU, Dawn, with the other software driver, SwiftShader (`deno task test:dawn`). On Debian that is taken out of the
 * package of Chromium, which is not installed, and kept in `.swiftshader/`.
 */
import { fileURLToPath } from "node:url";

/** What takes minutes on SwiftShader for kernels whose ids `pairs_test.ts` compares. */
const SLOW = ["sample_test.ts", "sample_candidates_test.ts"];
/**
 * What of the tests runs on Dawn, where no other files are named: a list per process, as SwiftShader compiles one program
 * at a time in each. The files of a process share their devices, and so the programs that these have compiled.
 */
const ON_DAWN = [
  ["golden_test.ts", "device/webgpu_device_test.ts", "train/device_loss_test.ts"],
  ["kernels/pairs_test.ts", "kernels/tint_test.ts"],
  [...Deno.readDirSync(new URL("../tests/ops/", import.meta.url))]
    .filter(({ name }) => name.endsWith("_test.ts") && !SLOW.includes(name))
    .map(({ name }) => `ops/${name}`),
];
const linux = Deno.build.os === "linux";
const dawn = Deno.args.includes("--dawn");
const args = Deno.args.filter((arg) => arg !== "--dawn");
/** Where SwiftShader is kept. */
const FOLDER = fileURLToPath(new URL("../.swiftshader/", import.meta.url));
/** The two files of the package that are SwiftShader. */
const SWIFTSHADER = ["libvk_swiftshader.so", "vk_swiftshader_icd.json"]
  .map((name) => `usr/lib/chromium/${name}`);
const MESA = "mesa-vulkan-drivers";
/** The launchers of MPI, by the packages that bring them; they stand side by side. */
const MPI = { "openmpi-bin": "mpirun.openmpi", "mpich": "mpirun.mpich" };
/** The package of the driver, and the file that names the driver to the Vulkan loader. */
const [PACKAGE, DRIVER] = dawn
  ? ["chromium-common", FOLDER + SWIFTSHADER[1]]
  : [MESA, `/usr/share/vulkan/icd.d/lvp_icd.${Deno.build.arch}.json`];
const chosen = Deno.env.get("VK_DRIVER_FILES") ?? Deno.env.get("VK_ICD_FILENAMES");
const env: Record<string, string> = {
  DINOGRAD_REQUIRE_WEBGPU: "1",
  // Many tests wait for other processes, so more files than cores are tested at a time.
  DENO_JOBS: Deno.env.get("DENO_JOBS") ?? String(Math.min(8, 2 * navigator.hardwareConcurrency)),
  ...linux && { DINOGRAD_REQUIRE_MPI: "1" },
  ...dawn && { DINOGRAD_GPU: "dawn" },
  ...linux && {
    // Without it Deno may take Mesa's OpenGL adapter, on which our kernels crash it.
    DENO_WEBGPU_BACKEND: "vulkan",
    // Unloading the driver while Deno tears its threads down crashes about one run in twelve at its end.
    VK_LOADER_DISABLE_DYNAMIC_LIBRARY_UNLOADING: "1",
    XDG_RUNTIME_DIR: Deno.env.get("XDG_RUNTIME_DIR") ?? "/tmp",
    // The older name too, for loaders that do not know the newer.
    ...!chosen && { VK_DRIVER_FILES: DRIVER, VK_ICD_FILENAMES: DRIVER },
  },
};

let adapter = await findAdapter();
if (!adapter) {
  console.error(`No WebGPU adapter: taking a software driver from ${PACKAGE} (apt-get) ...`);
  if (!await (dawn ? unpackSwiftShader() : install(MESA, "libvulkan1"))) {
    fail("apt-get could not bring it");
  }
  adapter = await findAdapter();
  if (!adapter) fail("it is there, but WebGPU still finds no adapter");
}
if (linux && !dawn) await installMpi();
const driver = linux ? `, ${chosen ?? DRIVER}${await packageVersion()}` : "";
console.log(`tests on ${adapter}${dawn ? " by Dawn" : ""}${driver}`);
if (dawn && !args.some((arg) => arg.startsWith("tests/"))) Deno.exit(await testTogether(ON_DAWN));
// The code in doc comments is the same everywhere; it has its turn in the first pass.
const { code } = await test(["--parallel", ...dawn ? [] : ["--doc"], ...args]).status;
Deno.exit(code);

/** Starts `deno test`. */
function test(args: string[], output: "inherit" | "piped" = "inherit"): Deno.ChildProcess {
  const all = ["test", "-A", "--quiet", ...args];
  const [stdout, stderr] = [output, output];
  return new Deno.Command(Deno.execPath(), { args: all, env, stdout, stderr }).spawn();
}

/**
 * Runs each list of test files as one module in a process of its own, all at the same time. The first one's output is
 * shown at once, that of the others at its end. Returns the exit code.
 */
async function testTogether(lists: readonly (readonly string[])[]): Promise<number> {
  const folder = await Deno.makeTempDir();
  try {
    const running = lists.map((files, i) => {
      const module = `${folder}/dawn_${i + 1}_test.ts`;
      const { href } = new URL("../tests/", import.meta.url);
      Deno.writeTextFileSync(module, files.map((file) => `import "${href}${file}";\n`).join(""));
      // Types are checked by the first pass.
      return test(["--no-check", module, ...args], i === 0 ? "inherit" : "piped");
    });
    const codes = await Promise.all(running.map(async (child, i) => {
      if (i === 0) return (await child.status).code;
      const { code, stdout, stderr } = await child.output();
      await running[0].status;
      await Deno.stdout.write(stdout);
      await Deno.stderr.write(stderr);
      return code;
    }));
    return Math.max(...codes);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * The adapter's description, undefined where there is none. Asks in a process of its own: one that is running does not
 * find a driver that came after it.
 */
async function findAdapter(): Promise<string | undefined> {
  const { href } = new URL("../src/device/webgpu/dawn.ts", import.meta.url);
  const probe = `const { chooseGpu } = await import("${href}");` +
    "const adapter = await (await chooseGpu())?.requestAdapter();" +
    "if (!adapter) Deno.exit(1);" +
    "const { vendor, device, description } = adapter.info;" +
    "console.log(description || device || vendor);";
  const args = ["eval", "--no-check", probe];
  const child = new Deno.Command(Deno.execPath(), { args, env, stderr: "null" });
  const { success, stdout } = await child.output();
  return success ? new TextDecoder().decode(stdout).trim() : undefined;
}

/** Installs what is missing of MPI. Where that fails, the tests that need it say so. */
async function installMpi(): Promise<void> {
  const missing: string[] = [];
  for (const [name, launcher] of Object.entries(MPI)) {
    if (!await run([launcher, "--version"])) missing.push(name);
  }
  if (missing.length === 0) return;
  console.error(`No ${missing.join(", ")}: taking them from the distribution (apt-get) ...`);
  if (!await install(...missing)) console.error(`apt-get could not bring ${missing.join(", ")}`);
}

/** Installs packages of the distribution. */
async function install(...packages: string[]): Promise<boolean> {
  const root = Deno.build.os !== "windows" && Deno.uid() === 0 ? [] : ["sudo", "-n"];
  const quiet = ["-y", "-qq", "--no-install-recommends"];
  return await run([...root, "apt-get", "update", "-qq"]) &&
    await run([...root, "apt-get", "install", ...quiet, ...packages]);
}

/** Downloads the package (32 MB) and takes the driver (5 MB) out of it. Dawn needs Mesa's Vulkan loader, too. */
async function unpackSwiftShader(): Promise<boolean> {
  const downloads = await Deno.makeTempDir();
  try {
    if (!await run(["apt-get", "download", "-qq", PACKAGE], downloads)) {
      if (
        !await install(MESA, "libvulkan1") ||
        !await run(["apt-get", "download", "-qq", PACKAGE], downloads)
      ) {
        return false;
      }
    }
    const [{ name }] = Deno.readDirSync(downloads);
    await Deno.mkdir(FOLDER, { recursive: true });
    const names = SWIFTSHADER.map((name) => `./${name}`).join(" ");
    const unpack = `dpkg-deb --fsys-tarfile "${name}" | tar -x -C "${FOLDER}" ${names}`;
    return await run(["sh", "-c", unpack], downloads);
  } finally {
    await Deno.remove(downloads, { recursive: true });
  }
}

/** The version of the package that the driver comes from, as Debian's package manager tells it. */
async function packageVersion(): Promise<string> {
  if (chosen || dawn) return "";
  try {
    const args = ["-W", "-f", "${Package} ${Version}", MESA];
    const { success, stdout } = await new Deno.Command("dpkg-query", { args }).output();
    return success ? ` (${new TextDecoder().decode(stdout)})` : "";
  } catch {
    return "";
  }
}

async function run([command, ...args]: string[], cwd?: string): Promise<boolean> {
  try {
    const env = { DEBIAN_FRONTEND: "noninteractive" };
    return (await new Deno.Command(command, { args, cwd, env, stdout: "null" }).output()).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function fail(reason: string): never {
  console.error(
    `${reason}; install a Vulkan driver (a GPU's own, or on Debian mesa-vulkan-drivers and libvulkan1), or name the ` +
      `.json of one in VK_DRIVER_FILES`,
  );
  Deno.exit(1);
}
