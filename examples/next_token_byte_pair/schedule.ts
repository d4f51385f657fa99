/** The learning rate of `next_token_byte_pair.ts`, and when it shows samples. */
import { warmupCosine } from "../../mod.ts";
import type { Options } from "./options.ts";

/**
 * The learning rate by step, counted from 0, for epochs of `batches` steps. It grows with every step of the warm-up;
 * after that it is constant within an epoch and falls from epoch to epoch along a half cosine.
 */
export function epochSchedule(
  { lr: maxLr, minLr, warmup, epochs }: Pick<Options, "lr" | "minLr" | "warmup" | "epochs">,
  batches: number,
): (step: number) => number {
  const warmupSteps = Math.round(warmup * batches);
  const schedule = warmupCosine({ maxLr, minLr, warmupSteps, totalSteps: epochs * batches });
  return (step) =>
    step < warmupSteps
      ? schedule(step + 1)
      : schedule(Math.max(warmupSteps, Math.floor(step / batches) * batches));
}

/** True if samples are drawn after an epoch, counted from 1: the first nine, every tenth and the last. */
export function isShown(epoch: number, epochs: number): boolean {
  return epoch < 10 || epoch % 10 === 0 || epoch === epochs;
}
