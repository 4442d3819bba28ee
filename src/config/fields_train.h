// The keys of the sections around training: train, optim, preference, distill, eval, compare, verify, export,
// generate, teach, plan, pipeline.
// Part of config/fields.h, which is what to include.
#pragma once

#include "config/fields.h"

namespace prentice {

template <class V>
void fields(V&& v, TrainSection& s) {
  v("batch", s.batch,
    About{.help = "examples an optimizer step; 0 = by batch_tokens", .why = "16: small data, many steps", .min = 0});
  v("batch_tokens", s.batch_tokens, About{.help = "tokens an optimizer step; 0 = by batch", .min = 0});
  v("micro_tokens", s.micro_tokens,
    About{.help = "tokens a forward; changes speed and memory, not the result",
          .why = "as many as the device's memory holds, by the plan",
          .min = 1});
  v("epochs", s.epochs, About{.help = "passes over the data; a part of one is allowed", .min = 0});
  v("steps", s.steps, About{.help = "optimizer steps; 0 = by epochs", .min = 0});
  v("checkpoint_every", s.checkpoint_every,
    About{.help = "steps between checkpoints", .why = "each epoch and every 30 minutes", .min = 1});
  v("keep", s.keep, About{.help = "how many checkpoints stay, beside the best", .min = 2});
  v("eval_every", s.eval_every,
    About{.help = "steps between evaluations", .why = "at the start, each epoch and the end", .min = 1});
  v("select", s.select, About{.help = "which checkpoint becomes the result"});
  v("patience", s.patience,
    About{.help = "stop after this many evaluations without a better train.select; 0 = never", .min = 0});
  v("recompute", s.recompute,
    About{.help = "what the backward pass computes again to save memory: selective = the MLP of each block, with what "
                  "attention needs kept; block = whole blocks",
          .why = "the least with which the plan fits"});
  v("offload", s.offload,
    About{.help =
              "keep optimizer state, what recomputation keeps of each block, and a frozen embedding and head in pinned "
              "host memory; for a GPU",
          .why = "true only where nothing else fits"});
  v("graph", s.graph,
    About{.help = "capture the passes of a step as CUDA graphs, with rows of one length; the same bits",
          .why = "true for small models on a GPU, where launches cost more than they do"});
}

template <class V>
void fields(V&& v, OptimSection& s) {
  v("name", s.name, About{.help = "the optimizer"});
  v("lr", s.lr,
    About{.help = "peak learning rate",
          .why = "by recipe kind and adapter.kind",
          .min = 0,
          .max = 10,
          .above_min = true});
  v("schedule", s.schedule, About{.help = "of the learning rate after the warm-up"});
  v("warmup", s.warmup,
    About{.help = "linear rise from 0: below 1 a share of the steps, from 1 up steps",
          .why = "3 % of the steps, at least 5",
          .min = 0});
  v("min_lr", s.min_lr,
    About{.help = "where the schedule ends, a share of lr", .why = "0.1 for cosine, else 0", .min = 0, .max = 1});
  v("decay", s.decay, About{.help = "wsd: share of the steps that the final descent takes", .min = 0, .max = 1});
  v("weight_decay", s.weight_decay,
    About{.help = "decoupled, on matrices only", .why = "0; 0.1 for pretrain", .min = 0, .max = 10});
  v("betas", s.betas,
    About{.help = "of the moments: [first, second]",
          .why = "0.9, 0.999; 0.9, 0.95 for pretrain",
          .min = 0,
          .max = 0.999999});
  v("eps", s.eps, About{.help = "AdamW's denominator floor", .min = 0, .max = 1, .above_min = true});
  v("clip", s.clip, About{.help = "limit of the global gradient norm; 0 = off", .min = 0});
  v("master", s.master, About{.help = "how full tuning in bf16 keeps its weights", .choices = kMaster});
}

template <class V>
void fields(V&& v, PreferenceSection& s) {
  v("loss", s.loss,
    About{.help =
              "sigmoid = DPO; robust and cdpo for labels that are partly wrong; ipo, hinge; orpo, simpo and cpo need "
              "no reference; kto learns from single answers. What orpo and cpo add of the chosen answers' "
              "cross-entropy counts the answers' tokens alone (TRL's orpo: the prompt's, too)"});
  v("beta", s.beta,
    About{.help = "how strongly the model is held to its reference: larger = closer (ipo: tau; simpo and cpo: scale of "
                  "the log-probabilities)",
          .why = "0.1; 2 for simpo",
          .min = 0,
          .above_min = true});
  v("label_smoothing", s.label_smoothing,
    About{.help = "share of the pairs whose answers are taken to be the wrong way round: cdpo, robust, simpo, cpo",
          .why = "0.1 for cdpo and robust, else 0",
          .min = 0,
          .max = 0.499});
  v("gamma", s.gamma,
    About{.help = "simpo: the margin by which a chosen answer is to win (the gamma itself, not its ratio to beta)",
          .why = "1 for simpo",
          .min = 0});
  v("sft_weight", s.sft_weight,
    About{.help = "weight of the cross-entropy of the chosen answers beside the loss: of their own tokens alone, also "
                  "for orpo (TRL's orpo counts the prompt's, too)",
          .why = "1 for cpo and orpo, which are defined with it, else 0",
          .min = 0});
  v("reference", s.reference,
    About{.help =
              "the model that log-probabilities are compared with: start = this one as it is before the first step; "
              "precomputed = the same, kept as numbers in the run folder; or the address of a model",
          .why = "start costs no second copy of the base",
          .choices = kReference,
          .path = PathKind::if_address});
}

template <class V>
void fields(V&& v, DistillSection& s) {
  v("teacher", s.teacher,
    About{.help = "the model to learn from, any artifact address, or a store that a recipe of kind teach has written",
          .path = PathKind::address});
  v("loss", s.loss,
    About{.help =
              "what is made small beside the cross-entropy: a divergence of the distributions (forward_kl, reverse_kl, "
              "jsd, tvd; ce = forward_kl with the teacher's entropy), the distance of hidden states (hidden_mse, "
              "hidden_cosine), or uld, which bridges different vocabularies",
          .why = "forward_kl: the student covers all that the teacher allows"});
  v("temperature", s.temperature,
    About{.help = "divides both sides' logits; the divergence is multiplied by its square (Hinton 2015)",
          .min = 0,
          .max = 1000,
          .above_min = true});
  v("weight", s.weight,
    About{.help = "share of the distillation, the rest is cross-entropy on the labels",
          .why = "0.5; 1 with distill.on_policy",
          .min = 0,
          .max = 1,
          .above_min = true});
  v("top_k", s.top_k,
    About{.help = "how many of the teacher's likeliest tokens are compared one by one",
          .why = "everything that is known: a model's whole vocabulary, all that a store keeps",
          .min = 1});
  v("tail", s.tail,
    About{.help =
              "what stands for the tokens that are left out: event = one more event, a true divergence; renormalize "
              "= nothing, the teacher's entries are scaled to sum to 1 (DistillKit)",
          .why = "event is 0 only where the student agrees"});
  v("on_policy", s.on_policy,
    About{.help = "share of the examples whose answer the student samples itself; the teacher scores it (Agarwal 2024)",
          .min = 0,
          .max = 1});
  v("max_new_tokens", s.max_new_tokens,
    About{.help = "of a sampled answer", .why = "the longest answer of data.train", .min = 1});
  v("beta", s.beta,
    About{.help = "jsd: the teacher's share of the mixture; 0 is forward_kl, 1 is reverse_kl", .min = 0, .max = 1});
  v("layer_map", s.layer_map,
    About{.help = "hidden losses: student's layer: teacher's, from 0, for instance {3: 7, 7: 15}; behind the last "
                  "layer the state is taken after the final norm, as transformers does",
          .why = "evenly spaced, the last on the last",
          .min = 0});
  v("teacher_device", s.teacher_device,
    About{.help = "where the teacher runs: cpu, cuda or cuda:N", .why = "run.device"});
}

template <class V>
void fields(V&& v, EvalSection& s) {
  v("tasks", s.tasks,
    About{.help =
              "loss = mean nats a token; choice = the likeliest of eval.choices; exact = the generated answer is the "
              "expected one; preference = pairs whose chosen answer a reward model scores higher",
          .why = "loss",
          .choices = kTasks});
  v("choices", s.choices,
    About{.help = "candidates of the choice task: a list, or a file with one a line",
          .why = "a record's `choices`, else every completion of data.train"});
  v("normalize", s.normalize, About{.help = "divide a candidate's log-likelihood by its tokens or bytes"});
  v("limit", s.limit, About{.help = "evaluate only the first rows; 0 = all", .min = 0});
  v("max_new_tokens", s.max_new_tokens, About{.help = "of a generated answer", .min = 1});
  v("require", s.require,
    About{.help = "metric: bound, for instance {accuracy: 0.9}; an upper bound for losses, a lower one otherwise; "
                  "not met = exit 9"});
}

template <class V>
void fields(V&& v, CompareSection& s) {
  v("a", s.a, About{.help = "what b is measured against, any artifact address", .path = PathKind::address});
  v("b", s.b, About{.help = "what may take a's place, any artifact address", .path = PathKind::address});
  v("metric", s.metric,
    About{.help = "what decides: auto = the accuracy where a task of eval.tasks gives one, else the loss",
          .choices = kCompared});
  v("margin", s.margin,
    About{.help = "how much worse b may be, in the metric's own unit (0.01 = one answer in a hundred, or 0.01 nats a "
                  "token); worse, or too few rows to tell = exit 9",
          .min = 0});
  v("confidence", s.confidence, About{.help = "of the interval of the difference", .min = 0.5, .max = 0.9999});
}

inline constexpr std::string_view kLimitsHelp =
    "how far a file's logits may be from the model's, by type: {Q4_K_M: {kld: 0.04, top1: 0.9}}. kld: mean divergence "
    "in nats, at most; top1: share of tokens with the same likeliest id, at least";
inline constexpr std::string_view kLimitsWhy =
    "by type and number of parameters: published figures from 1 B on, wider below; verify.json names them";

template <class V>
void fields(V&& v, VerifySection& s) {
  v("model", s.model,
    About{.help = "what was trained, any artifact address; a GGUF file only below an adapter",
          .path = PathKind::address});
  v("artifact", s.artifact,
    About{.help = "what must be the same: a GGUF file, a merged Hugging Face folder or an adapter, whoever wrote it; "
                  "what does "
                  "not pass is renamed to NAME.rejected, and the exit code is 9",
          .path = PathKind::address});
  v("limits", s.limits, About{.help = kLimitsHelp, .why = kLimitsWhy, .min = 0});
  v("tokens", s.tokens,
    About{
        .help = "how many tokens both are run on", .why = "512 on the CPU, 8192 on a GPU", .min = 16, .max = 1 << 20});
  v("llama_cpp", s.llama_cpp,
    About{.help = "a second witness, which reads the GGUF file itself: llama.cpp's shared library from January 2025 on "
                  "(libllama.so, its siblings beside it), or a running llama-server that serves the file "
                  "(http://127.0.0.1:8080). The library's token ids and logits must pass the same checks; a server is "
                  "asked for token ids, greedy tokens and the likeliest log-probabilities",
          .why = "llama.cpp is another program, which has to be there; our own reading and forward pass of the file "
                 "are always checked",
          .path = PathKind::or_server});
}

template <class V>
void fields(V&& v, ExportSection& s) {
  v("peft", s.peft, About{.help = "the adapter as a PEFT folder"});
  v("merged", s.merged,
    About{.help = "the adapter folded into the model's own weights, as a Hugging Face folder of this dtype; nf4 = its "
                  "layers in four bits, as bitsandbytes stores them",
          .why = "none; bf16 for reward, whose folder with the score head is what others load",
          .choices = kMerged});
  v("gguf", s.gguf, About{.help = "GGUF files of these types", .choices = kGguf});
  v("types", s.types,
    About{.help = "tensor name or pattern: its own GGUF type, for instance {output: F16}", .choices = kGgufTensor});
  v("imatrix", s.imatrix,
    About{.help = "what matters to blocks of export.gguf: an importance matrix (.gguf or llama.cpp's older .dat), or "
                  "calibration data, on which the model is run first",
          .why = "none: every column counts alike",
          .path = PathKind::input});
  v("gguf_adapter", s.gguf_adapter,
    About{.help = "the adapter as a GGUF file of this type, gguf/adapter.gguf, for llama.cpp's --lora; true = F32",
          .choices = kGgufAdapter});
  v("dtype", s.dtype, About{.help = "of the PEFT adapter", .choices = kAdapterDtype});
  v("name", s.name, About{.help = "of the exported files", .why = "the run folder's name"});
  v("verify", s.verify,
    About{.help = "read every export back and compare it with the trained model; false = `export` runs no model, "
                  "and writes no self-test either"});
  v("limits", s.limits, About{.help = kLimitsHelp, .why = kLimitsWhy, .min = 0});
}

template <class V>
void fields(V&& v, GenerateSection& s) {
  v("prompt", s.prompt, About{.help = "the text to go on from, or the user's turn when the model has a chat template"});
  v("max_new_tokens", s.max_new_tokens, About{.help = "at most this many tokens", .min = 1});
  v("temperature", s.temperature, About{.help = "0 = the likeliest token each time", .min = 0, .max = 100});
  v("top_p", s.top_p,
    About{.help = "sample from the likeliest tokens that hold this share", .min = 0, .max = 1, .above_min = true});
  v("top_k", s.top_k, About{.help = "sample from this many likeliest tokens; 0 = all", .min = 0});
  v("n", s.n, About{.help = "how many samples", .min = 1, .max = 10000});
  v("seed", s.seed, About{.help = "of the sampling", .min = 0});
  v("stop", s.stop, About{.help = "texts that end the answer, beside the model's end tokens"});
  v.reserved("schema", "a JSON schema the answer must fit");
}

template <class V>
void fields(V&& v, SampleSection& s) {
  v("n", s.n, About{.help = "how many answers to each prompt", .min = 0, .max = 10000});
  v("temperature", s.temperature, About{.help = "0 = the likeliest token each time", .min = 0, .max = 100});
  v("top_p", s.top_p,
    About{.help = "sample from the likeliest tokens that hold this share", .min = 0, .max = 1, .above_min = true});
  v("max_new_tokens", s.max_new_tokens,
    About{.help = "an answer that has not ended after this many tokens is dropped", .min = 1});
  v("min_tokens", s.min_tokens, About{.help = "a shorter answer is dropped", .min = 0});
  v("json", s.json, About{.help = "an answer that does not parse as JSON is dropped"});
  v("match", s.match, About{.help = "a regular expression: an answer that it does not match as a whole is dropped"});
  v("likelihood", s.likelihood,
    About{.help = "an answer is dropped when the geometric mean of its tokens' probabilities is below this",
          .min = 0,
          .max = 1});
  v("agree", s.agree,
    About{.help = "an answer is dropped when fewer than this many of the n to its prompt are the same text", .min = 1});
}

template <class V>
void fields(V&& v, TeachSection& s) {
  v("out", s.out,
    About{.help = "where the store (a folder) or the sampled answers (a JSONL file) go; relative to the current folder",
          .why = "store, or answers.jsonl, in run.out",
          .path = PathKind::output});
  v("top_k", s.top_k, About{.help = "how many of the likeliest tokens a row keeps at most", .min = 1, .max = 65535});
  v("tail", s.tail,
    About{.help = "a row keeps its likeliest tokens until less than this mass is left; the mass of the others is kept "
                  "as one number",
          .min = 0,
          .max = 0.999});
  v("values", s.values,
    About{.help = "how log-probabilities are written: q8 = 256 levels a row, at most 100 bytes a token in all; f16, "
                  "f32 = exact, without that limit",
          .choices = kStoreValues});
  v("sample", s.sample,
    About{.help = "write the teacher's own answers to the prompts of data.train instead, a data set to train on: "
                  "{n: 4, temperature: 0.8, ...}. Dropped is what has not ended after max_new_tokens, is shorter than "
                  "min_tokens, is no JSON (json: true), does not match the regular expression `match`, is less likely "
                  "than `likelihood` (geometric mean of its tokens' probabilities), or is given fewer than `agree` "
                  "times of n; and every repetition",
          .why = "n: 0 samples nothing: log-probabilities are kept"});
}

template <class V>
void fields(V&& v, PlanSection& s) {
  v("hardware", s.hardware,
    About{.help = "plan for this machine: a name under configs/hardware", .why = "this machine"});
}

template <class V>
void fields(V&& v, PipelineSection& s) {
  v("steps", s.steps,
    About{.help = "the recipes to run in order: a list of {recipe: FILE, name: NAME, set: {section.key: value}}. "
                  "`name` defaults to the "
                  "file's; `set` lays values over the recipe; ${steps.NAME.out} is the run folder of an earlier step; "
                  "on the command line a step's value is NAME:section.key=value"});
}

}  // namespace prentice
