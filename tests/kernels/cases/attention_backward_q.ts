import { attentionBackwardQ } from "../../../kernels/attention/attention_backward_q.ts";
import { attentionForward } from "../../../kernels/attention/attention_forward.ts";
import { type Case, output, random } from "../case.ts";
import { inputs, situations } from "./attention_forward.ts";

export const cases: Case[] = situations.map(([name, options, padded, long]) => {
  const { params, bindings } = inputs(options, padded);
  attentionForward.cpu(bindings, params);
  const { length } = bindings.q;
  return {
    kernel: attentionBackwardQ,
    name,
    long,
    tolerance: long ? 1e-4 : undefined,
    params,
    bindings: { ...bindings, dO: random(length, 1, 5), dQ: output(length) },
  };
});
