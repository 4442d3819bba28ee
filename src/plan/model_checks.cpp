#include "plan/model_checks.h"

#include <fmt/format.h>

#include <algorithm>

#include "adapter/choice.h"
#include "adapter/lora.h"
#include "adapter/merge.h"
#include "adapter/peft.h"
#include "adapter/peft_folder.h"
#include "adapter/qat.h"
#include "adapter/saved_modules.h"
#include "adapter/targets.h"
#include "adapter/vocabulary.h"
#include "artifact/open.h"
#include "artifact/score_head.h"
#include "artifact/student.h"
#include "config/checker.h"
#include "core/error.h"
#include "distill/teacher.h"
#include "export/gguf_adapter.h"
#include "export/gguf_features.h"
#include "export/gguf_tensor_type.h"
#include "export/hf_folder.h"
#include "export/importance_collector.h"
#include "io/gguf.h"
#include "model/gguf_names.h"
#include "model/make.h"
#include "model/stored_nf4.h"
#include "text/chat.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

bool check_patterns(Checker& c, const AdapterSection& adapter) {
  const auto& targets = adapter.targets;
  bool good = true;
  if (targets.size() == 1 && looks_like_pattern(targets[0])) {
    good = c.gather("adapter.targets", [&] { Pattern pattern(targets[0]); });
  }
  const auto check_keys = [&](std::string_view key, const auto& patterns) {
    for (const auto& [pattern, value] : patterns) {
      good = c.gather(
                 key, [&, &pattern = pattern] { end_pattern(pattern); }, pattern) &&
             good;
    }
  };
  check_keys("adapter.rank_pattern", adapter.rank_pattern);
  check_keys("adapter.alpha_pattern", adapter.alpha_pattern);
  return good;
}

void check_templates(Checker& c, const DataSection& data) {
  const auto check = [&](const char* key, const std::string& source) {
    if (!source.empty()) c.gather(key, [&] { RecordTemplate parsed(source, key); });
  };
  check("data.prompt", data.prompt);
  check("data.completion", data.completion);
}

// The type that `name` gets when `key` alone asks for F16 where everything else is F32.
bool has_effect(const std::string& key, const std::string& name, const std::vector<int64_t>& shape) {
  return gguf_tensor_type(name, shape, GgmlType::F32, {{key, "F16"}}) == GgmlType::F16;
}

// Each entry of export.types must name a tensor of the model that may have a type of its own.
void check_tensor_types(Checker& c, const ExportSection& section, const ModelSpec& spec) {
  const auto tensors = expected_tensors(spec);
  for (const auto& [key, type] : section.types) {
    const auto named = [&, &key = key](const auto& tensor) {
      return has_effect(key, gguf_name(tensor.name, spec), tensor.shape);
    };
    if (std::any_of(tensors.begin(), tensors.end(), named)) continue;
    c.mistake({.key = "export.types",
               .word = key,
               .message = fmt::format("'{}' names no matrix of this model", key),
               .hint = "names are GGUF's: token_embd, output (where the head is not tied), attn_q, ffn_down, "
                       "blk.3.attn_v, or an expression over the whole name; norms and biases are always F32"});
  }
}

// A folder in four bits is held as it is.
void check_stored(Checker& c, const ModelShape& shape, const ModelSection& section, bool full, bool rounded) {
  if (is_gguf_file(shape.artifact.base) || stored_quantize(shape.spec) == Quantize::none) return;
  const std::string what = shape.artifact.address + ": its layers are stored in four bits";
  if (section.quantize != "none") c.mistake("model.quantize", what + " already", "remove the key");
  if (full) {
    c.mistake(c.has("adapter.kind") ? "adapter.kind" : "model.path", what + ", and cannot train",
              "train an adapter, or start from the unquantized model");
  }
  if (rounded) c.mistake("adapter.qat", what + " already", "start from the unquantized model");
}

// A GGUF file keeps its own blocks, its vocabulary and its form.
template <class R>
void check_gguf_base(Checker& c, const R& recipe, const ModelShape& shape, bool full) {
  if (!is_gguf_file(shape.artifact.base)) return;
  const std::string what = shape.artifact.address + ": a GGUF file";
  constexpr const char* kFolder = "start from the model's Hugging Face folder";
  if (recipe.model.quantize != "none") c.mistake("model.quantize", what + " keeps its own blocks", "remove the key");
  if (full) {
    c.mistake(c.has("adapter.kind") ? "adapter.kind" : "model.path", what + " is frozen, and cannot train whole",
              std::string("train an adapter, or ") + kFolder);
  }
  if (!recipe.model.add_tokens.empty()) c.mistake("model.add_tokens", what + " takes no more tokens", kFolder);
  if (trains_rounded(adapter_of(recipe)))
    c.mistake("adapter.qat", what + " keeps its own blocks", std::string("remove the key, or ") + kFolder);
  if constexpr (requires { recipe.exports; }) {
    const std::string hint = "export.gguf_adapter=F16 goes with the file itself; to merge, train on the model's folder";
    if (recipe.exports.merged != "none") c.mistake("export.merged", what + " is not merged with an adapter", hint);
    if (!recipe.exports.gguf.empty()) c.mistake("export.gguf", what + " is not quantized again", hint);
  }
}

void check_start(Checker& c, const ModelShape& shape, bool full) {
  const Artifact& artifact = shape.artifact;
  if (!artifact.adapter.empty()) {
    c.mistake(c.has("model.adapter") ? "model.adapter" : "model.path",
              "training starts from a model without an adapter",
              "adapter.init=" + artifact.adapter.string() + " goes on from it; `prentice export` merges it");
  }
  if (full && !shape.spec.section.empty()) {
    c.mistake(c.has("adapter.kind") ? "adapter.kind" : "model.path",
              artifact.address + ": its decoder is a part of a larger model, and all weights cannot train there",
              "`prentice export export.merged=bf16` writes the decoder alone; or train an adapter");
  }
}

void check_weights(Checker& c, const ModelShape& shape, bool may_be_random, const std::string& init) {
  if (shape.promised || (may_be_random && init == "random")) return;
  c.gather("model.path", [&] { require_weights("model.path", shape.artifact, may_be_random ? kMakesWeights : ""); });
}

// New tokens have rows that train whole, so embedding and head cannot have an adapter too.
void save_ends(Checker& c, const ModelSpec& spec, AdapterSection& adapter) {
  if (adapter.kind == AdapterKind::full || !starts_fresh(adapter)) return;
  for (const auto& end : save_both_ends(spec, adapter.modules_to_save)) {
    if (std::ranges::count(adapter.targets, end) == 0) continue;
    c.mistake({.key = "adapter.targets",
               .word = end,
               .message = end + " trains whole where model.add_tokens adds rows to it, and cannot have an adapter too",
               .hint = "remove it"});
  }
}

// The model on `meta` with the adapter of the section attached, where it can be.
bool attach_on_meta(Checker& c, Model& model, const AdapterSection& adapter) {
  if (adapter.kind == AdapterKind::full) return true;
  if (!starts_fresh(adapter)) return c.gather("adapter.init", [&] { attach_lora(model, adapter, 0); });
  const auto contradicts = contradictions(adapter);
  if (!contradicts.empty()) return false;  // told by the reader of the recipe
  const auto found = adapter_mistakes(model, adapter);
  c.mistakes(found);
  if (found.empty()) attach_lora(model, adapter, 0);
  return found.empty();
}

// A matrix that is a file and there.
void check_importance(Checker& c, const ExportSection& exports, const ModelSpec& spec) {
  std::error_code error;
  if (!is_importance_file(exports.imatrix) || !fs::exists(exports.imatrix, error)) return;
  c.gather("export.imatrix", [&] { require_importance_of(read_importance(exports.imatrix), decoder_alone(spec)); });
}

void check_gguf(Checker& c, const ExportSection& exports, Model& model) {
  if (exports.gguf_adapter != "none") {
    c.gather("export.gguf_adapter", [&] { check_gguf_adapter(model); });
  }
  if (exports.gguf.empty()) return;
  merge(model);
  c.gather("export.gguf", [&] { check_gguf_can_express(model.spec); });
  check_importance(c, exports, model.spec);
}

// What adapter.qat trains against must be a file that can be written.
void check_served(Checker& c, const AdapterSection& adapter, const ExportSection& exports, Model model) {
  if (!trains_rounded(adapter)) return;
  c.gather("adapter.qat", [&] {
    check_gguf_can_express(model.spec);
    train_as_served(model, served_by(adapter, exports, model.spec));
  });
}

// Weights that bf16 rounds are not those that the export merges.
void check_precision(Checker& c, const RunSection& run, const AdapterSection& adapter, const ModelShape& shape) {
  if (!trains_rounded(adapter) || run.precision != Precision::bf16 || own_type(shape.spec) == GgmlType::BF16) return;
  c.mistake("run.precision",
            fmt::format("bf16 rounds the {} weights of {}, of which adapter.qat makes blocks",
                        ggml_type_info(own_type(shape.spec)).name, shape.artifact.address),
            "run.precision=f32");
}

void check_trained_products(Checker& c, const AdapterSection& adapter, const ExportSection& exports, ModelSpec spec,
                            Quantize quantize) {
  const bool continued = adapter.kind != AdapterKind::full && !starts_fresh(adapter);
  const bool scores = spec.labels > 0;
  const auto take_shape = [&] {
    spec = with_adapter_shape(std::move(spec), adapter.init);
    require_same_head(adapter.init, spec.labels > 0, scores);
  };
  if (continued && !c.gather("adapter.init", take_shape)) return;
  Model model = make_model(spec, {.dtype = c10::kFloat, .device = c10::kMeta, .quantize = quantize});
  if (!attach_on_meta(c, model, adapter)) return;
  if (quantize == Quantize::none) check_served(c, adapter, exports, model);
  ExportSection asked = exports;
  const bool told = !gguf_adapter_mistakes(adapter.kind == AdapterKind::dora, adapter.modules_to_save).empty();
  if (told || adapter.kind == AdapterKind::full) asked.gguf_adapter = "none";  // the recipe's reader has the word
  check_gguf(c, asked, model);
}

// What an export writes of a model that is there, or of one that only its shape is known of.
// `understood`: nothing that was asked for is left out of `exports`.
void check_exported(Checker& c, const ExportSection& exports, const ModelShape& shape, bool understood) {
  const fs::path& adapter = shape.artifact.adapter;
  const bool as_gguf = exports.gguf_adapter != "none";
  if (adapter.empty() && !shape.promised) {
    if (as_gguf) {
      c.mistake("export.gguf_adapter", shape.artifact.address + " has no adapter",
                "name one: model.path=BASE+ADAPTER, or export.gguf=[F16] for the model itself");
    } else if (understood && exports.peft && exports.merged == "none" && exports.gguf.empty()) {
      c.mistake("export.peft", "nothing is asked for, and the model has no adapter",
                "export.merged=bf16 or export.gguf=[F16], for instance");
    }
  }
  if (exports.gguf.empty() && !(as_gguf && !adapter.empty())) return;
  Model model = make_model(shape.spec, {.dtype = c10::kFloat, .device = c10::kMeta});
  const bool fits = adapter.empty() || c.gather("model.path", [&] {
    if (as_gguf) return load_peft(model, adapter);
    if (PeftFolder::open(adapter, model).unties()) untie(model.spec);
  });
  ExportSection asked = exports;
  if (adapter.empty()) asked.gguf_adapter = "none";
  if (fits) check_gguf(c, asked, model);
}

// Gives `spec` and `adapter` of a reward run the head that it trains. False when they can have none.
bool take_trained_head(Checker& c, ModelSpec& spec, AdapterSection& adapter) {
  return c.gather("model.path", [&] { spec = with_score_head(std::move(spec)); }) &&
         c.gather("adapter.init", [&] { store_head_whole(spec, adapter); });
}

// Whether eval.tasks and the model agree on what it gives: scores, or words.
bool tasks_fit(Checker& c, const EvalSection& eval, const ModelShape& shape) {
  const std::string& address = shape.artifact.address;
  const bool prefers = std::ranges::count(eval.tasks, kPreferenceTask) > 0, scores = shape.spec.labels == 1;
  if (prefers && !scores) {
    c.mistake("eval.tasks", "preference asks a reward model, and " + address + " is a language model",
              "`recipe: reward` trains one");
  } else if (!prefers && scores) {
    c.mistake(c.has("eval.tasks") ? "eval.tasks" : "model.path", address + ": " + std::string(kScoresAlone),
              "eval.tasks=[preference] compares its scores on pairs");
  }
  return prefers == scores;
}

// Whether the model's head is what the kind works with; when it is not, nothing more can be held against that model.
template <class R>
bool head_fits(Checker& c, const R& recipe, const ModelShape& shape) {
  const int64_t labels = shape.spec.labels;
  const std::string& address = shape.artifact.address;
  if (std::is_same_v<R, ExportRecipe>) return true;
  if (labels > 1) {
    c.mistake("model.path",
              fmt::format("{}: its head gives {} labels, which no kind of this version works with", address, labels));
    return false;
  }
  if (std::is_same_v<R, RewardRecipe>) return true;
  if constexpr (std::is_same_v<R, EvalRecipe>) {
    return tasks_fit(c, recipe.eval, shape);
  } else {
    if (labels == 1) c.mistake("model.path", address + ": " + std::string(kScoresAlone), std::string(kWhatReadsScores));
    return labels == 0;
  }
}

}  // namespace

template <class R>
bool check_expressions(const R& recipe, RecipeMistakes& mistakes) {
  Checker c(recipe, mistakes);
  bool good = true;
  if constexpr (requires { recipe.adapter; }) good = check_patterns(c, recipe.adapter);
  if constexpr (requires { recipe.data; }) check_templates(c, recipe.data);
  if constexpr (requires { recipe.exports; }) {
    for (const auto& [key, type] : recipe.exports.types) {
      const auto parse = [&, &key = key] {
        if (looks_like_pattern(key)) Pattern pattern(key);
      };
      good = c.gather("export.types", parse, key) && good;
    }
  }
  return good;
}

template <class R>
void check_against_model(const R& recipe, const ModelShape& shape, RecipeMistakes& mistakes) {
  Checker c(recipe, mistakes);
  constexpr bool exports_only = std::is_same_v<R, ExportRecipe>;
  check_weights(c, shape, !exports_only, recipe.model.init);
  ModelSpec spec = shape.spec;
  AdapterSection adapter = adapter_of(recipe);
  check_stored(c, shape, recipe.model, kTrains<R> && adapter.kind == AdapterKind::full, trains_rounded(adapter));
  check_gguf_base(c, recipe, shape, kTrains<R> && adapter.kind == AdapterKind::full);
  if (!head_fits(c, recipe, shape)) return;
  if (std::is_same_v<R, RewardRecipe> && !take_trained_head(c, spec, adapter)) return;
  if constexpr (requires { recipe.data; }) {
    const auto& longest = recipe.data.max_length;
    if (longest && *longest > shape.spec.max_positions) {
      c.mistake("data.max_length",
                fmt::format("{} is above the model's trained context of {}", *longest, shape.spec.max_positions));
    }
  }
  if constexpr (kTrains<R>) {
    if (!recipe.model.add_tokens.empty()) save_ends(c, spec, adapter);
    check_start(c, shape, adapter.kind == AdapterKind::full);
    check_precision(c, recipe.run, adapter, shape);
    const bool full = adapter.kind == AdapterKind::full;
    check_trained_products(c, adapter, recipe.exports, spec, full ? Quantize::none : quantize_of(recipe.model, spec));
    if constexpr (requires { recipe.distill; }) check_teacher(c, recipe, spec);
  }
  if constexpr (std::is_same_v<R, ImatrixRecipe>)
    c.gather("model.path", [&] { check_gguf_can_express(decoder_alone(spec)); });
  if constexpr (exports_only) check_exported(c, recipe.exports, shape, mistakes.empty());
  if constexpr (requires { recipe.exports; }) check_tensor_types(c, recipe.exports, spec);
}

#define PRENTICE_FITS(R)                                         \
  template bool check_expressions<R>(const R&, RecipeMistakes&); \
  template void check_against_model<R>(const R&, const ModelShape&, RecipeMistakes&);
PRENTICE_MODEL_KINDS(PRENTICE_FITS)
#undef PRENTICE_FITS
template bool check_expressions<CompareRecipe>(const CompareRecipe&, RecipeMistakes&);
template bool check_expressions<VerifyRecipe>(const VerifyRecipe&, RecipeMistakes&);

}  // namespace prentice
