import { attentionBackwardKv } from "../../../kernels/attention_backward_kv.ts";
import { attentionBackwardQ } from "../../../kernels/attention_backward_q.ts";
import { attentionForward } from "../../../kernels/attention_forward.ts";
import { type Case, output, random } from "../case.ts";
import { inputs, situations } from "./attention_forward.ts";

export const cases: Case[] = situations.map(([name, options, padded, long]) => {
  const { params, bindings } = inputs(options, padded);
  const { q, k, v, key_valid, stats } = bindings;
  const grad_o = random(q.length, 1, 5);
  attentionForward.cpu(bindings, params);
  attentionBackwardQ.cpu({ ...bindings, grad_o, grad_q: output(q.length) }, params);
  const [grad_k, grad_v] = [output(k.length), output(v.length)];
  return {
    kernel: attentionBackwardKv,
    name,
    long,
    params,
    bindings: { q, k, v, grad_o, key_valid, stats, grad_k, grad_v },
  };
});
