// THE list of keys: one `fields(visitor, section)` per struct of config/schema.h names each key once, with help, the
// reason of its default, range and choices. Reading, unknown keys, overrides, explain, the JSON schema and the resolved
// recipe all walk it. A key of the contract that no struct holds yet is `reserved`.
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <string_view>

#include "config/schema.h"
#include "config/words.h"

namespace prentice {

// How a text that names a place is made absolute.
enum class PathKind {
  none,
  input,       // a file or folder that must exist; relative to the recipe's folder
  or_server,   // the same, or the http:// address of a running server
  tokenizer,   // the same, a folder or a file in it
  address,     // artifact address (config/address.h)
  output,      // relative to the current folder
  if_path,     // `auto`, else an input
  if_adapter,  // one of `choices`, else a PEFT folder: an input, or a name of the hub
  if_address   // one of `choices`, else an artifact address
};
// Whether an earlier step of a pipeline may make what stands there.
inline bool names_artifact(PathKind kind) {
  return kind == PathKind::address || kind == PathKind::if_address || kind == PathKind::if_adapter;
}

struct About {
  std::string_view help;
  std::string_view why = {};  // reason of the default, or what `auto` decides by
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;  // the minimum itself is out of range
  std::span<const Choice> choices = {};
  PathKind path = PathKind::none;
  bool later = false;  // only the default is in this version
};

// Whether a value need not be one of the choices.
inline bool takes_other_words(const About& about) {
  return about.choices.empty() || about.path == PathKind::if_adapter || about.path == PathKind::if_address;
}
inline bool is_choice(const About& about, std::string_view word) {
  return std::ranges::find(about.choices, word, &Choice::word) != about.choices.end();
}
// Whether it is the address of a server and no path.
inline bool is_server(const About& about, std::string_view value) {
  return about.path == PathKind::or_server && value.find("://") != value.npos;
}

template <class V>
void fields(V&& v, RunSection& s) {
  v("out", s.out,
    About{.help = "the run folder; relative to the current folder",
          .why = "runs/ and the recipe's file name",
          .path = PathKind::output});
  v("seed", s.seed, About{.help = "of initial weights, data order, splits and dropout", .min = 0});
  v("device", s.device, About{.help = "cpu, cuda or cuda:N", .why = "cuda where there is one"});
  v("precision", s.precision,
    About{.help = "of products and frozen weights; what trains is f32 in any case", .why = "bf16 on cuda, f32 on cpu"});
  v("deterministic", s.deterministic, About{.help = "the same bits from the same seed, machine type and thread count"});
  v("threads", s.threads,
    About{.help = "of the CPU; part of the numerics, so it is recorded",
          .why = "the cgroup's quota, at most 8",
          .min = 1,
          .max = 1024});
  v("log_every", s.log_every, About{.help = "steps between two lines of progress and metrics.jsonl", .min = 1});
  v.reserved("track", "an experiment tracker");
}

template <class V>
void fields(V&& v, ModelSection& s) {
  v("path", s.path,
    About{.help = "the model: a Hugging Face folder, a GGUF file, ORG/NAME in the cache, a name under configs/models "
                  "(shapes only), runs/NAME, runs/NAME@STEP, runs/NAME@best or BASE+ADAPTER",
          .path = PathKind::address});
  v("adapter", s.adapter,
    About{.help = "a PEFT folder to apply to it; the same as path: BASE+ADAPTER", .path = PathKind::address});
  v("init", s.init,
    About{.help = "weights = the model's own; random = made from the shapes and run.seed", .choices = kModelInit});
  v("quantize", s.quantize,
    About{.help =
              "how the layers of a frozen base are held in memory: nf4 = four bits a weight and 0.13 for scales, as "
              "bitsandbytes with double quantization; nf4-single = without it, 4.5 bits; embedding and head are not "
              "quantized",
          .choices = kQuantize});
  v("tokenizer", s.tokenizer,
    About{.help = "folder of the tokenizer", .why = "the model's own folder", .path = PathKind::tokenizer});
  v("add_tokens", s.add_tokens,
    About{.help =
              "special tokens to add to the vocabulary, as transformers' add_special_tokens does: the next free "
              "ids; the embedding grows where it has no spare rows; new rows start as the mean of the known ones "
              "(Hewitt 2021; transformers draws within 1e-9 of it). Beside an adapter, the embedding and head train "
              "whole. Later kinds find the tokens in what was trained"});
}

template <class V>
void fields(V&& v, AdapterSection& s) {
  v("kind", s.kind,
    About{
        .help =
            "lora = low-rank adapter; dora = the same with the length of every row of its own (Liu 2024); full = every "
            "weight trains"});
  v("rank", s.rank, About{.help = "of the adapter's two factors", .min = 1, .max = 65536});
  v("alpha", s.alpha,
    About{.help = "scale: alpha/rank, with rslora alpha/sqrt(rank)",
          .why = "32 whatever the rank, so that rank can change alone; 8 with rslora",
          .min = 0,
          .above_min = true});
  v("dropout", s.dropout, About{.help = "share of the adapter's inputs that is dropped", .min = 0, .max = 0.99});
  v("targets", s.targets,
    About{.help =
              "which layers: all-linear (all but the head), a list of names, or one regular expression; embed_tokens "
              "and lm_head by name",
          .why = "all layers beat attention alone at equal size"});
  v("layers", s.layers, About{.help = "only these layer numbers, from 0", .why = "all", .min = 0});
  v("rank_pattern", s.rank_pattern, About{.help = "module name or pattern: its own rank", .min = 1, .max = 65536});
  v("alpha_pattern", s.alpha_pattern,
    About{.help = "module name or pattern: its own alpha", .min = 0, .above_min = true});
  v("modules_to_save", s.modules_to_save,
    About{.help =
              "modules that train whole beside the adapter and are stored with it: embed_tokens, lm_head, norm ..."});
  v("rslora", s.rslora, About{.help = "scale by alpha/sqrt(rank) (Kalajdzievski 2023)"});
  v("init", s.init,
    About{.help = "default (A uniform, B zero), gaussian, pissa (the weight's largest singular parts, Meng 2024; its "
                  "export has "
                  "twice the rank), or the path of a PEFT adapter to go on from",
          .choices = kAdapterInit,
          .path = PathKind::if_adapter});
  v("lr_ratio", s.lr_ratio,
    About{.help = "LoRA+: factor on the learning rate of B and of vectors; other than 1, an adapter on the embedding "
                  "learns at 1e-6 (Hayou 2024, as in peft)",
          .min = 0,
          .max = 1024,
          .above_min = true});
  v("qat", s.qat,
    About{.help =
              "train against the rounding of this GGUF file type: each pass reads the very blocks that export.gguf "
              "would write of the merged model, each tensor in the type that it gets there, and gradients pass "
              "straight through the rounding (Bengio 2013); the file then gives what was trained. Encodes the adapted "
              "layers once a step",
          .why = "a step costs less without; 8 bits lose next to nothing, 4 and fewer bits do",
          .choices = kQat});
}

template <class V>
void file_fields(V&& v, DataSection& s) {
  v("train", s.train,
    About{.help = "a file, a list of files, or a list of {path, weight}: JSONL, JSON, CSV, TSV, Parquet or text",
          .path = PathKind::input});
  v("eval", s.eval,
    About{.help = "held-out files, as for train; of `recipe: imatrix` those that will be evaluated on: rows of both "
                  "are told",
          .path = PathKind::input});
  v("eval_split", s.eval_split,
    About{.help = "how much of train is held out: below 1 a share, from 1 up rows, 0 none",
          .why = "5 % and at most 500 rows when there is no data.eval and at least 200 rows",
          .min = 0});
  v("split_by", s.split_by, About{.help = "a field whose equal values stay on one side of the split"});
  v("stratify", s.stratify, About{.help = "a field whose values keep their shares on both sides of the split"});
  v("format", s.format, About{.help = "of a record", .why = "auto looks at the first record and says what it found"});
  v("fields", s.fields, About{.help = "our field name: the file's, for instance {prompt: question}"});
  v("limit", s.limit, About{.help = "read only the first rows; 0 = all", .min = 0});
  v("lines", s.lines, About{.help = "a plain text file is one document a line, not one document"});
}

template <class V>
void fields(V&& v, DataSection& s) {
  file_fields(v, s);
  v("system", s.system, About{.help = "system message put before every conversation that has none"});
  v("prompt", s.prompt, About{.help = "minijinja over the record: the prompt; an unknown variable is an error"});
  v("completion", s.completion, About{.help = "minijinja over the record: the answer to learn"});
  v("chat", s.chat,
    About{.help = "whether rows go through the chat template",
          .why = "on for conversations, alpaca and prompt/completion templates when there is a template; raw text "
                 "stays raw"});
  v("template", s.chat_template,
    About{.help = "auto, or a .jinja file", .why = "the tokenizer's own", .path = PathKind::if_path});
  v("template_args", s.template_args, About{.help = "variables that the chat template sees, for instance date_string"});
  v("train_on", s.train_on,
    About{.help = "assistant = every answer; last = the last one; completion; all = every token",
          .why = "the model learns answers, not questions"});
  v("max_length", s.max_length,
    About{.help = "tokens a row; of `recipe: imatrix` tokens of a chunk of text",
          .why = "the longest row, up to the trained context if the plan fits; 512 for a chunk",
          .min = 2});
  v("overlong", s.overlong,
    About{.help = "a row above max_length: error, drop, truncate (keeps the end of turn) or split (text)",
          .why = "split for text, error for the rest: nothing is cut silently"});
  v("eos", s.eos,
    About{.help = "an end token after raw rows",
          .why = "on for what is trained and for completions, off for text in eval"});
  v("packing", s.packing, About{.help = "several examples a forward, with no padding and no leak; false = one"});
  v("shuffle", s.shuffle, About{.help = "a new order each epoch, a function of run.seed"});
}

}  // namespace prentice

#include "config/fields_train.h"
