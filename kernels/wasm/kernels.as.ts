// The entry point: everything exported here is a kernel that the thread pool can run by name (see README.md).
export { heap_base } from "./layout.as";
export {
  attention,
  attention_backward,
  attention_few,
  begin_attention,
  begin_attention_backward,
  finish_attention,
  first_seen,
  fold_attention,
  end_seeing,
  end_seen,
  gradients_of_attention,
  heads_to_f32,
  zero_rows,
} from "./attention.as";
export { sgemm_few } from "./few_rows.as";
export { sgemm } from "./gemm.as";
export { sgemv } from "./gemv.as";
export * from "./elementwise.as";
export { dropout, random_fill } from "./random.as";
export { hgemm_few } from "./half_rows.as";
export { f16_to_f32, f32_to_f16 } from "./half.as";
export { write_int8_rows } from "./int8_rows.as";
export {
  multiply_q4_0,
  multiply_q8_0,
  rows_to_i8,
  unpack_q4_0,
  unpack_q8_0,
} from "./quantised.as";
export { multiply_many, rows_to_i7 } from "./quantised_gemm.as";
export { rotary } from "./rotary.as";
export {
  clip_factor,
  column_sum,
  cross_entropy,
  cross_entropy_backward,
  cross_entropy_fused,
  layer_norm,
  layer_norm_backward,
  layer_norm_backward_params,
  log_softmax,
  log_softmax_backward,
  rms_norm,
  rms_norm_backward,
  rms_norm_backward_params,
  row_dot,
  row_max,
  row_sum,
  softmax,
  softmax_backward,
  sum_blocks,
  sum_partials,
} from "./rows.as";
export * from "./moves.as";
