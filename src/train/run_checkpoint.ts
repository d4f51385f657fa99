/**
 * Saves and restores everything a training run needs to continue as if it had never stopped.
 *
 * @module
 */
import type { BatchLoader, TokenLoaderState } from "../data/loader.ts";
import type { Device } from "../device/device.ts";
import { type Checkpoint, type Json, saveCheckpoint } from "../io/checkpoint.ts";
import { FileFormatError } from "../io/errors.ts";
import { shown } from "../io/json_text.ts";
import { checkStateDict, tensorEntries } from "../nn/state_dict.ts";
import type { LossScaler } from "../optim/loss_scaler.ts";
import type { StoredTensor } from "../optim/stored.ts";
import { assign } from "../tensor/create.ts";
import type { RandomState, RandomStateJson } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** An optimizer as a checkpoint sees it, or a stand-in for the optimizers of several processes. */
export interface SavedOptimizer {
  /** Returns what is to be saved, by name. */
  state(): ReadonlyMap<string, Pick<Tensor, "shape" | "dtype" | "data">>;
  /** Restores what was saved. */
  restore(stored: ReadonlyMap<string, StoredTensor>): void;
}

/** The parts of a training run that change from step to step. */
export interface TrainingRun {
  /** The model; its parameters are saved as `model.<name>`. */
  readonly model: { parameters(): ReadonlyMap<string, Tensor> };
  /** The optimizer; its moments are saved as `optimizer.<name>`. */
  readonly optimizer: SavedOptimizer;
  /** The loss scaler of mixed precision, saved as `scaler.<name>`. */
  readonly scaler?: LossScaler | undefined;
  /** The loader, saved as its position in the data. */
  readonly loader?: Pick<BatchLoader, "state" | "restore">;
  /** The stream of random numbers. */
  readonly random?: RandomState | undefined;
}

/** What a checkpoint of a run holds besides its tensors. */
interface RunState {
  readonly loader?: TokenLoaderState;
  readonly random?: RandomStateJson | undefined;
  /** What tuning chose: other programs add in another order. */
  readonly programs?: Readonly<Record<string, string>>;
  readonly extra: Json;
}

/**
 * Writes a checkpoint of `run` after `step` steps into `folder` and keeps the newest `keep` checkpoints (default: 3).
 * `extra` is anything the program wants back later, such as its options or its best loss. Tensors are read from the
 * device one at a time. Returns the path of the file.
 */
export async function saveRun(
  folder: string | URL,
  step: number,
  run: TrainingRun,
  options?: { readonly keep?: number | undefined; readonly extra?: Json },
): Promise<string> {
  const state: Json = {
    loader: run.loader && { ...run.loader.state() },
    random: run.random && { ...run.random.state() },
    programs: deviceOf(run.model).programChoices(),
    extra: options?.extra ?? null,
  };
  const tensors = [
    ...tensorEntries(run.model.parameters(), "model."),
    ...tensorEntries(run.optimizer.state(), "optimizer."),
    ...tensorEntries(run.scaler?.state() ?? new Map(), "scaler."),
  ];
  return await saveCheckpoint(folder, step, { state, tensors }, { keep: options?.keep });
}

/**
 * Restores a checkpoint into `run`, which must be built with the same configuration. Returns the step and the `extra`
 * that were saved. Throws, before anything is changed, if names or shapes differ, and a `FileFormatError` if the
 * checkpoint was not written by a run.
 */
export function restoreRun(
  checkpoint: Checkpoint,
  run: TrainingRun,
): { step: number; extra: Json } {
  const state = stateOf(checkpoint);
  const model = withPrefix(checkpoint, "model.");
  const parameters = run.model.parameters();
  checkStateDict(parameters, model, checkpoint.path);
  run.optimizer.restore(withPrefix(checkpoint, "optimizer.") as Map<string, StoredTensor>);
  run.scaler?.restore(withPrefix(checkpoint, "scaler.") as Map<string, StoredTensor>);
  for (const [name, { data }] of model) assign(parameters.get(name)!, data as Float32Array);
  if (run.loader && state.loader) run.loader.restore(state.loader);
  if (run.random && state.random) run.random.restore(state.random);
  if (state.programs) deviceOf(run.model).restoreProgramChoices(state.programs);
  return { step: checkpoint.step, extra: state.extra };
}

/** Restores only the parameters of a checkpoint into a model, for example to generate text. */
export function restoreModel(checkpoint: Checkpoint, model: TrainingRun["model"]): void {
  const values = withPrefix(checkpoint, "model.");
  const parameters = model.parameters();
  checkStateDict(parameters, values, checkpoint.path);
  for (const [name, { data }] of values) assign(parameters.get(name)!, data as Float32Array);
}

/**
 * Returns what a program passed to {@linkcode saveRun} as `extra`, if it is an object with an object under each of
 * these names. Throws a `FileFormatError` otherwise.
 */
export function checkpointExtra(
  checkpoint: Checkpoint,
  names: readonly string[],
): { readonly [name: string]: Json | undefined } {
  const { extra } = stateOf(checkpoint);
  if (isRecord(extra) && names.every((name) => isRecord(extra[name]))) return extra;
  throw new FileFormatError(
    `expected ${
      names.map((name) => `"${name}"`).join(" and ")
    } in the "extra" of its state but got ` +
      shown(extra),
    { file: checkpoint.path },
  );
}

function deviceOf(model: TrainingRun["model"]): Device {
  for (const { device } of model.parameters().values()) return device;
  throw new TypeError("saveRun: expected a model with parameters but got one without");
}

function stateOf({ state, path }: Checkpoint): RunState {
  const fits = isRecord(state) &&
    [state.loader, state.random, state.programs].every((part) =>
      part === undefined || isRecord(part)
    );
  if (fits) return state as unknown as RunState;
  throw new FileFormatError(`expected the state of a training run but got ${shown(state)}`, {
    file: path,
  });
}

function isRecord(value: Json | undefined): value is { readonly [key: string]: Json | undefined } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function withPrefix(checkpoint: Checkpoint, prefix: string): Checkpoint["tensors"] {
  const found: Checkpoint["tensors"] = new Map();
  for (const [name, tensor] of checkpoint.tensors) {
    if (name.startsWith(prefix)) found.set(name.slice(prefix.length), tensor);
  }
  return found;
}
