/**
 * The building blocks of models, in one import.
 *
 * @module
 */
export * from "./causal_attention.ts";
export * from "./check_tokens.ts";
export * from "./forward_options.ts";
export * as init from "./init.ts";
export type { ParameterOptions } from "./init.ts";
export * from "./key_value_cache.ts";
export * from "./layers.ts";
export * from "./lora.ts";
export * from "./module.ts";
export * from "./sequences.ts";
