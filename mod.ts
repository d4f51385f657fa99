/**
 * dinograd: tensors, gradients and transformer language models on Deno's WebGPU and on the CPU.
 *
 * @example Train a line
 * ```ts
 * import { CpuDevice, mean, mul, Scope, SGD, square, sub, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using slope = tensor([0], { device });
 * slope.requiresGrad = true;
 * using optimizer = new SGD({ slope }, { lr: 0.1 });
 * using x = tensor([1, 2, 3], { device });
 * using y = tensor([2, 4, 6], { device });
 * for (let step = 0; step < 50; step++) {
 *   using _step = new Scope();
 *   mean(square(sub(mul(x, slope), y))).backward();
 *   optimizer.step();
 *   optimizer.zeroGrad();
 * }
 * assert(Math.abs(await slope.item() - 2) < 1e-3);
 * ```
 *
 * @module
 */

// Devices
export { CpuDevice, type CpuDeviceOptions } from "./src/device/cpu/cpu_device.ts";
export * from "./src/device/default.ts";
export * from "./src/device/device.ts";
export type { DType, QuantisedType, TypedArray } from "./src/device/dtype.ts";
export * from "./src/device/errors.ts";
export { yieldToEventLoop } from "./src/device/event_loop.ts";
export * from "./src/device/open.ts";
export { formatTimings } from "./src/device/timings.ts";
export { loadDawn } from "./src/device/webgpu/dawn.ts";
export * from "./src/device/webgpu/webgpu_device.ts";

// Tensors and gradients
export {
  arange,
  assign,
  type CreateOptions,
  type ForeignArray,
  full,
  type NestedValues,
  ones,
  onesLike,
  tensor,
  type TensorOptions,
  zeros,
  zerosLike,
} from "./src/tensor/create.ts";
export * from "./src/tensor/random.ts";
export { type StreamParams } from "./kernels/sampling/philox.ts";
export * from "./src/tensor/scope.ts";
export { type GradNode, type NestedArray, readTensors, Tensor } from "./src/tensor/tensor.ts";
export { type Shape } from "./src/tensor/shape.ts";
export { recompute, type RecomputeOptions } from "./src/tensor/recompute.ts";
export { enableGrad, noGrad } from "./src/tensor/tape.ts";

// Operations
export * from "./src/ops/mod.ts";

// Layers and models
export * from "./src/nn/causal_attention.ts";
export * from "./src/nn/forward_options.ts";
export * from "./src/nn/key_value_cache.ts";
export * as init from "./src/nn/init.ts";
export type { Initializer, InitializerOptions, ParameterOptions } from "./src/nn/init.ts";
export {
  Dropout,
  Embedding,
  type EmbeddingOptions,
  LayerNorm,
  Linear,
  type LinearAdapter,
  type LinearOptions,
  type NormLayerOptions,
  RMSNorm,
  type RMSNormLayerOptions,
} from "./src/nn/layers.ts";
export {
  applyLoRA,
  type FullLoRAConfig,
  LoRA,
  type LoRAConfig,
  type LoRAOptions,
} from "./src/nn/lora.ts";
export { Module, parameter } from "./src/nn/module.ts";
export { type MatrixType, quantize, type QuantizeOptions } from "./src/nn/quantize.ts";
export type { StateDict } from "./src/nn/state_dict.ts";
export { type Block, CausalLM, type CausalLMConfig, type Pass } from "./src/models/causal_lm.ts";
export * from "./src/models/gpt2.ts";
export * from "./src/models/gpt3.ts";
export {
  type Attention,
  type AttentionSetting,
  Decoder,
  type DecoderConfig,
  type DecoderTraits,
  type FilledConfig,
  gatedIntermediateSize,
  type GatedMLP,
  type LayerType,
  type RopeLayoutConfig,
  type SlidingConfig,
} from "./src/models/decoder.ts";
export { Gemma3, type Gemma3Config } from "./src/models/gemma3.ts";
export * from "./src/models/llama.ts";
export * from "./src/models/mistral.ts";
export * from "./src/models/modern_gpt.ts";
export * from "./src/models/phi3.ts";
export * from "./src/models/qwen.ts";
export { SmolLM3, type SmolLM3Config } from "./src/models/smollm3.ts";
export * from "./src/models/transformer.ts";

// Folders of models, and the hub
export {
  jinjaChatTemplate,
  loadChatTemplate,
  loadStopIds,
  plainChatTemplate,
} from "./src/pretrained/chat_template.ts";
export {
  downloadModel,
  type ModelDownloadProgress,
  type ModelHubOptions,
  type ModelPart,
} from "./src/pretrained/download_model.ts";
export { saveGguf, type SaveGgufOptions } from "./src/pretrained/gguf_model.ts";
export * from "./src/pretrained/llama2c.ts";
export { loadModel, type LoadModelOptions } from "./src/pretrained/load_model.ts";
export { loadTokenizer } from "./src/pretrained/load_tokenizer.ts";
export { loadLoRA, saveLoRA, type SaveLoRAOptions } from "./src/pretrained/lora_files.ts";
export {
  type LanguageModelKind,
  type ModelKind,
  type ModelKinds,
} from "./src/pretrained/model_kinds.ts";
export { saveModel, type SaveModelOptions } from "./src/pretrained/save_model.ts";

// Optimizers
export * from "./src/optim/adamw.ts";
export * from "./src/optim/check_grad_norm.ts";
export {
  clipGradNorm,
  type ClipOptions,
  type ClippedGradients,
} from "./src/optim/clip_grad_norm.ts";
export * from "./src/optim/loss_scaler.ts";
export * from "./src/optim/muon.ts";
export {
  type Method,
  Optimizer,
  type OptimizerOptions,
  type ParameterGroup,
  type Run,
  type StepOptions,
  type Update,
} from "./src/optim/optimizer.ts";
export { type NamedParameters, zeroGrad } from "./src/optim/parameters.ts";
export * from "./src/optim/schedule.ts";
export * from "./src/optim/sgd.ts";
export { type StoredTensor } from "./src/optim/stored.ts";

// Several processes
export {
  type AllReduceOptions,
  type Communicator,
  coresPerRank,
  type Gatherable,
  shareJson,
  shareOf,
  SingleProcess,
  type Summable,
} from "./src/distributed/communicator.ts";
export { openCommunicator } from "./src/distributed/mpi.ts";
export * from "./src/distributed/diloco.ts";
export * from "./src/distributed/gradient_exchange.ts";
export * from "./src/distributed/parameter_shards.ts";
export { broadcastTensors } from "./src/distributed/tensors.ts";

// Training and decoding
export * from "./src/train/dpo.ts";
export * from "./src/train/evaluate.ts";
export * from "./src/train/fitting_batch.ts";
export * from "./src/train/interrupt.ts";
export * from "./src/train/look.ts";
export * from "./src/train/memory.ts";
export * from "./src/train/run_checkpoint.ts";
export * from "./src/train/run_folder.ts";
export * from "./src/train/step_guard.ts";
export * from "./src/decode/beam_search.ts";
export * from "./src/decode/generate.ts";
export * from "./src/decode/generate_text.ts";
export { type NextTokenModel } from "./src/decode/next_token_model.ts";

// Serving
export {
  Engine,
  EngineClosedError,
  type EngineOptions,
  type EngineRequest,
  type EngineSequence,
  type EngineStats,
  type FinishReason,
  type GeneratedToken,
  QueueFullError,
  type TokenLogprob,
} from "./src/serve/engine.ts";
export {
  createHandler,
  type Handler,
  type HandlerOptions,
  type ServeInfo,
} from "./src/serve/handler.ts";
export { Answer, type AnswerEnds, type AnswerToken, type Piece } from "./src/serve/answer.ts";
export { type Pooling } from "./src/serve/embeddings.ts";

// Metrics
export * from "./src/eval/accuracy.ts";
export * from "./src/eval/bleu.ts";
export * from "./src/eval/hellaswag.ts";
export * from "./src/eval/perplexity.ts";
export * from "./src/eval/text_perplexity.ts";

// Tokenizers
export * from "./src/tokenizer/byte_pair_tokenizer.ts";
export * from "./src/tokenizer/gpt2_tokenizer.ts";
export { type TieRule } from "./src/tokenizer/bpe_trainer.ts";
export { GPT2_PATTERN, GPT4_PATTERN, type PatternName } from "./src/tokenizer/splitter.ts";
export * from "./src/tokenizer/sentencepiece_bin.ts";
export {
  type TextSpecialTokens,
  TextVocabulary,
  type TextVocabularyJSON,
  type TextVocabularyOptions,
  type TextVocabularySummary,
  wordsOf,
} from "./src/tokenizer/text_vocabulary.ts";
export {
  continuationText,
  type EncodeOptions,
  endOfTextIds,
  fitsVocabulary,
  type PretrainedTokenizer,
  promptIds,
  SpecialTokenError,
  StreamDecoder,
  type Tokenizer,
  TokenizerFormatError,
} from "./src/tokenizer/tokenizer.ts";
export { ByteLevelTokenizer } from "./src/tokenizer/tokenizer_base.ts";
export { tokenizerFromJson } from "./src/tokenizer/tokenizer_json.ts";

// Data
export { dataset as mobyDick, loadMobyDick } from "./data/moby_dick.ts";
export {
  dataset as tinyShakespeare,
  loadTinyShakespeare,
  type TinyShakespeareOptions,
} from "./data/tiny_shakespeare.ts";
export {
  dataset as englishFrench,
  type EnglishFrenchOptions,
  loadEnglishFrench,
} from "./data/english_french.ts";
export {
  dataset as fineWebEdu,
  type FineWebEduOptions,
  prepareFineWebEdu,
} from "./data/fineweb_edu.ts";
export {
  dataset as hellaSwag,
  type HellaSwagFileOptions,
  type HellaSwagItem,
  loadHellaSwag,
} from "./data/hellaswag.ts";
export { type Dataset } from "./src/data/dataset.ts";
export * from "./src/hub/download.ts";
export {
  downloadHubFile,
  type DownloadHubOptions,
  hubCorpusFile,
  type HubFile,
  type HubOptions,
  listHubFiles,
  type ListHubOptions,
} from "./src/hub/hub.ts";
export {
  type ChatFormat,
  type ChatMessage,
  type ChatTemplate,
  plainChatFormat,
} from "./src/data/chat_format.ts";
export * from "./src/data/examples.ts";
export {
  type Batch,
  type BatchLoader,
  type ShuffleOptions,
  TokenLoader,
  type TokenLoaderOptions,
  type TokenLoaderState,
} from "./src/data/loader.ts";
export { RowLoader, type RowLoaderOptions } from "./src/data/row_loader.ts";
export {
  type FileSpan,
  type PageRun,
  type PageRunOptions,
  ParquetTexts,
} from "./src/data/parquet.ts";
export {
  type CorpusFile,
  prepareCorpus,
  type PreparedCorpus,
  type PrepareOptions,
  type PrepareProgress,
} from "./src/data/prepare/prepare.ts";
export * from "./src/data/shard_writer.ts";
export * from "./src/data/shards.ts";
export * from "./src/data/translation_pairs.ts";
export * from "./src/data/shuffled_order.ts";
export * from "./src/data/translation_rows.ts";

// Files
export {
  type AtomicFile,
  type AtomicWriteOptions,
  type WritableFile,
} from "./src/io/atomic_file.ts";
export { type ByteSource } from "./src/io/byte_source.ts";
export {
  type Checkpoint,
  type CheckpointFile,
  type CheckpointTensor,
  type Json,
  listCheckpoints,
  loadCheckpoint,
  loadNewestCheckpoint,
} from "./src/io/checkpoint.ts";
export * from "./src/io/errors.ts";
export * from "./src/io/gguf.ts";
export * from "./src/io/llama2c_bin.ts";
export * from "./src/io/llmc_bin.ts";
export {
  encodeNpy,
  type NpyArray,
  type NpyData,
  type NpyDtype,
  type NpyHeader,
  readNpy,
  readNpyHeader,
  writeNpy,
} from "./src/io/npy.ts";
export * from "./src/io/safetensors.ts";

// Progress, logs and pictures
export {
  type AttentionLayer,
  attentionPicture,
  type AttentionPictureOptions,
  attentionPng,
} from "./src/report/attention_picture.ts";
export { EventFile, type EventFileOptions } from "./src/report/event_file.ts";
export {
  formatBytes,
  formatCount,
  formatDuration,
  formatRate,
  formatSample,
  formatTable,
  type TableColumn,
  type TableRow,
} from "./src/report/format.ts";
export { type Curve, type CurvePanel, type CurvesOptions, curvesSvg } from "./src/report/curves.ts";
export * from "./src/report/length_histograms.ts";
export { NotebookPicture } from "./src/report/notebook_picture.ts";
export * from "./src/report/progress.ts";
export { TimeLeft } from "./src/report/time_left.ts";
export { TextLog, type TextLogOptions } from "./src/report/text_log.ts";
