import { attentionBackwardKv } from "../../../kernels/attention/attention_backward_kv.ts";
import { attentionBackwardQ } from "../../../kernels/attention/attention_backward_q.ts";
import { attentionForward } from "../../../kernels/attention/attention_forward.ts";
import { type Case, output, random } from "../case.ts";
import { inputs, situations } from "./attention_forward.ts";

export const cases: Case[] = situations.map(([name, options, padded, long]) => {
  const { params, bindings } = inputs(options, padded);
  const { q, k, v, mask, lse } = bindings;
  const dO = random(q.length, 1, 5);
  attentionForward.cpu(bindings, params);
  attentionBackwardQ.cpu({ ...bindings, dO, dQ: output(q.length) }, params);
  const [dK, dV] = [output(k.length), output(v.length)];
  return {
    kernel: attentionBackwardKv,
    name,
    long,
    tolerance: long ? 1e-4 : undefined,
    params,
    bindings: { q, k, v, dO, mask, lse, dK, dV },
  };
});
