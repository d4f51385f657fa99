// Checkpoints: one safetensors file per step, so that any tool can open the weights. Its metadata holds the run's state
// as JSON and a SHA-256 of the whole file (with the digest itself counted as zeros), which is verified while loading.
import {
  type AtomicWriteOptions,
  removeStrayTemporaries,
  writeFileAtomically,
} from "./atomic_file.ts";
import { createHash, join } from "./node_builtins.ts";
import { toPath } from "./byte_source.ts";
import { FileFormatError } from "./errors.ts";
import { parseJson, shown } from "./json_text.ts";
import { SafetensorsFile, writeTensors } from "./safetensors.ts";
import {
  encodeSafetensorsHeader,
  type TensorData,
  type TensorEntry,
  type TensorInfo,
} from "./safetensors_header.ts";

const FORMAT = "dinograd checkpoint";
const FORMAT_VERSION = "1";
const NO_DIGEST = "0".repeat(64);
const FILE_NAME = /^step_(\d{8,})\.safetensors$/;

/** Any JSON value. */
export type Json = string | number | boolean | null | readonly Json[] | {
  readonly [key: string]: Json | undefined;
};

/** The contents of a checkpoint. */
export interface CheckpointContent {
  /** Everything that is not an array: configuration, schedule, loader position, random state. */
  state: Json;
  /** Parameters and optimizer state, by names like `model.wte.weight` and `optimizer.m.wte.weight`. */
  tensors: Iterable<TensorEntry>;
}

/** Options of {@linkcode saveCheckpoint}. */
export interface SaveCheckpointOptions extends Pick<AtomicWriteOptions, "open"> {
  /** The number of checkpoints to keep, including this one; older ones are removed. Default: 3. */
  keep?: number | undefined;
}

/** A tensor of a loaded checkpoint. */
export interface CheckpointTensor extends Pick<TensorInfo, "dtype" | "shape"> {
  /** The elements; BF16 as bits in a `Uint16Array`. */
  data: TensorData;
}

/** A checkpoint that was read completely and verified. */
export interface Checkpoint {
  /** The path of the file. */
  path: string;
  /** The number of training steps that were done when it was saved. */
  step: number;
  /** What was saved as `state`. */
  state: Json;
  /** The tensors by name, in the order in which they were saved. */
  tensors: Map<string, CheckpointTensor>;
}

/** A checkpoint file in a folder, not yet opened. */
export interface CheckpointFile {
  /** The path of the file. */
  path: string;
  /** The step in its name. */
  step: number;
}

/** Returns the path of the checkpoint of a step: `folder/step_00000010.safetensors`. */
export function checkpointPath(folder: string | URL, step: number): string {
  if (!Number.isSafeInteger(step) || step < 0) {
    throw new RangeError(`checkpointPath: expected an integer step of 0 or more but got ${step}`);
  }
  return join(toPath(folder), `step_${String(step).padStart(8, "0")}.safetensors`);
}

/**
 * Saves the checkpoint of a step into a folder, which is created if it is missing, and returns its path. The file is
 * written under a temporary name, synced and renamed: whatever happens, there is either the whole new checkpoint or
 * none, and earlier ones are untouched. Then the oldest checkpoints are removed until `keep` are left, and so are
 * leftovers of killed processes. Only one run at a time may use a folder.
 *
 * @throws {TypeError} where `state` holds something that JSON cannot keep (NaN, Infinity, a bigint)
 * @throws {TypeError | RangeError} where data does not fit its type and shape, or a name comes twice
 * @throws {FileWriteError} where the disk is full
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { loadNewestCheckpoint, saveCheckpoint } from "./checkpoint.ts";
 *
 * const folder = await Deno.makeTempDir();
 * await saveCheckpoint(folder, 10, {
 *   state: { learningRate: 6e-4 },
 *   tensors: [{ name: "model.bias", dtype: "F32", shape: [2], data: Float32Array.of(1, 2) }],
 * }, { keep: 2 });
 *
 * const checkpoint = await loadNewestCheckpoint(folder);
 * assert.equal(checkpoint?.step, 10);
 * assert.deepEqual(checkpoint?.tensors.get("model.bias")?.data, Float32Array.of(1, 2));
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function saveCheckpoint(
  folder: string | URL,
  step: number,
  content: CheckpointContent,
  options?: SaveCheckpointOptions,
): Promise<string> {
  const path = checkpointPath(folder, step);
  const keep = options?.keep ?? 3;
  if (!(keep >= 1)) {
    throw new RangeError(`saveCheckpoint: expected keep of 1 or more but got ${keep}`);
  }
  const entries = [...content.tensors];
  const metadata = {
    format: FORMAT,
    format_version: FORMAT_VERSION,
    sha256: NO_DIGEST,
    step: String(step),
    state: stringifyState(content.state),
  };
  const { header, dataBytes } = encodeSafetensorsHeader(entries, metadata);
  const bytesWanted = header.byteLength + dataBytes;

  await Deno.mkdir(toPath(folder), { recursive: true });
  await removeStrayTemporaries(toPath(folder));
  await writeFileAtomically(path, async (file) => {
    const hash = createHash("sha256").update(header);
    await file.write(header);
    await writeTensors({
      write: async (bytes) => {
        const written = file.write(bytes); // continues in another thread while this one hashes
        hash.update(bytes);
        await written;
      },
    }, entries);
    // The digest is as long as the zeros in its place, so it can be put in afterwards.
    await file.writeAt(new TextEncoder().encode(hash.digest("hex")), digestOffset(header));
  }, { open: options?.open, bytesWanted });

  const older = (await listCheckpoints(folder)).filter((file) => file.step < step);
  const surplus = Math.max(0, older.length - (keep - 1));
  for (const file of older.slice(0, surplus)) await Deno.remove(file.path);
  return path;
}

/**
 * Returns the checkpoint files in a folder by step, newest last; none if the folder does not exist. They are not
 * opened.
 */
export async function listCheckpoints(folder: string | URL): Promise<CheckpointFile[]> {
  const files: CheckpointFile[] = [];
  try {
    for await (const entry of Deno.readDir(toPath(folder))) {
      const match = FILE_NAME.exec(entry.name);
      if (match && entry.isFile) {
        files.push({ path: join(toPath(folder), entry.name), step: Number(match[1]) });
      }
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return files.sort((a, b) => a.step - b.step);
}

/**
 * Reads a whole checkpoint in one pass, and verifies it on the way.
 *
 * @throws {FileFormatError} where the file is cut short, corrupted, no checkpoint, or written by a
 * later version of this library
 */
export async function loadCheckpoint(path: string | URL): Promise<Checkpoint> {
  using file = await SafetensorsFile.open(path);
  const { metadata } = file;
  // The metadata is in the header, which begins at byte 8.
  const refuse = (message: string, offset = 8): never => {
    throw new FileFormatError(message, { file: file.name, offset });
  };
  if (metadata.format !== FORMAT) {
    refuse("expected a checkpoint of dinograd but got another safetensors file");
  }
  if (metadata.format_version !== FORMAT_VERSION) {
    refuse(
      `expected checkpoint version ${FORMAT_VERSION} but got ${
        metadata.format_version?.slice(0, 40)
      }`,
    );
  }

  const header = new Uint8Array(file.dataOffset);
  await file.readBytes(header, 0);
  const at = digestOffset(header, metadata.sha256);
  if (at >= 0) header.fill(NO_DIGEST.charCodeAt(0), at, at + NO_DIGEST.length);
  const hash = createHash("sha256").update(header);
  const tensors = new Map<string, CheckpointTensor>();
  for (const [name, { dtype, shape }] of file.tensors) {
    const data = await file.read(name);
    hash.update(new Uint8Array(data.buffer));
    tensors.set(name, { dtype, shape, data });
  }
  const digest = hash.digest("hex");
  if (digest !== metadata.sha256) {
    refuse(
      `corrupted: expected SHA-256 ${shown(metadata.sha256, 80)} but got ${digest}`,
      Math.max(at, 8),
    );
  }
  if (!/^\d+$/.test(metadata.step!) || !Number.isSafeInteger(Number(metadata.step))) {
    refuse(`expected a step in its metadata but got ${shown(metadata.step)}`);
  }
  if (metadata.state === undefined) refuse("expected a state in its metadata but got none");
  let state: unknown;
  try {
    state = parseJson(metadata.state!);
  } catch (error) {
    refuse(`expected a state of JSON: ${(error as Error).message}`);
  }
  return { path: file.name, step: Number(metadata.step), state: state as Json, tensors };
}

/**
 * Loads the newest checkpoint in a folder that is intact. One that is cut short, corrupted or foreign is reported to
 * `onRefused`, and the one before it is tried. Returns `undefined` if there is no checkpoint at all.
 *
 * @throws {FileFormatError} where there are checkpoints and not one of them is whole
 */
export async function loadNewestCheckpoint(
  folder: string | URL,
  options?: { onRefused?: (error: FileFormatError) => void },
): Promise<Checkpoint | undefined> {
  const files = await listCheckpoints(folder);
  let refused: FileFormatError | undefined;
  for (const { path } of files.toReversed()) {
    try {
      return await loadCheckpoint(path);
    } catch (error) {
      if (!(error instanceof FileFormatError)) throw error;
      refused = error;
      options?.onRefused?.(error);
    }
  }
  if (refused) {
    throw new FileFormatError(`expected a whole checkpoint but got ${files.length} damaged`, {
      file: toPath(folder),
      cause: refused,
    });
  }
  return undefined;
}

/** Returns the offset of the digest in the header. The state, which may contain any text, comes after it. */
function digestOffset(header: Uint8Array, digest: string = NO_DIGEST): number {
  const text = new TextDecoder("latin1").decode(header.subarray(0, 1024));
  const key = `"sha256":"`;
  const at = text.indexOf(`${key}${digest}"`);
  return at < 0 ? -1 : at + key.length;
}

function stringifyState(state: Json): string {
  const text = JSON.stringify(state, (key, value) => {
    if (typeof value === "number" && !Number.isFinite(value)) {
      throw new TypeError(
        `saveCheckpoint: expected JSON as state ${JSON.stringify(key)} but got ${value}`,
      );
    }
    return value;
  });
  if (text === undefined) {
    throw new TypeError("saveCheckpoint: expected JSON as state but got undefined");
  }
  return text;
}
