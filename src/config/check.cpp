#include "config/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "config/address.h"
#include "config/checker.h"
#include "config/distill_rules.h"
#include "config/eval_rules.h"
#include "config/preference_rules.h"
#include "config/qat_rules.h"
#include "config/teach_rules.h"
#include "config/verify_rules.h"
#include "core/utf8.h"
#include "io/json.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

// A checker that also knows which sections stand there, and what is only worth a line.
class SectionChecker : public Checker {
 public:
  SectionChecker(RecipeFacts& facts, const Node& root, RecipeMistakes& mistakes)
      : Checker(facts, mistakes, root.position()), warnings_(facts.warnings), root_(root) {}

  // A key that is there but could not be read has been reported.
  void missing(std::string_view key, std::string what, std::string hint) {
    const Node* section = root_.find(key.substr(0, key.find('.')));
    if (section && section->find(key.substr(key.find('.') + 1))) return;
    mistake(key, "is missing: " + what, std::move(hint));
  }
  void warn(std::string text) { warnings_.push_back(std::move(text)); }

 private:
  std::vector<std::string>& warnings_;
  const Node& root_;
};

void check_run(SectionChecker& c, const RunSection& run) {
  if (run.device && !is_device(*run.device)) {
    c.mistake("run.device", "expected auto, cpu, cuda or cuda:N, got " + *run.device);
  }
}

constexpr size_t kLongestToken = 256;  // bytes

// C0, DEL and C1; the text is UTF-8.
bool holds_control(std::string_view text) {
  for (size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const bool is_c1 = byte == 0xc2 && static_cast<unsigned char>(text[at + 1]) < 0xa0;
    if (byte < 0x20 || byte == 0x7f || is_c1) return true;
  }
  return false;
}

// Tokens that could never be matched, that a text would hold by accident, or that are no words but a slip.
void check_added_tokens(SectionChecker& c, const std::vector<std::string>& tokens) {
  std::set<std::string> seen;
  for (const auto& token : tokens) {
    const auto refuse = [&](const std::string& what) {
      c.mistake("model.add_tokens", what, "for instance <|ticket|>");
    };
    if (token.empty()) {
      refuse("a token is empty");
    } else if (is_blank(token)) {
      refuse(fmt::format("'{}' is white space alone, which every text has", token));
    } else if (first_bad_utf8(token) != std::string::npos) {
      refuse(fmt::format("'{}' is not UTF-8", token));
    } else if (token.size() > kLongestToken) {
      refuse(fmt::format("a token has {} bytes, more than {}", token.size(), kLongestToken));
    } else if (holds_control(token)) {
      refuse(fmt::format("{} holds a control character, for instance a line break", Json(token).dump()));
    } else if (!seen.insert(token).second) {
      c.mistake("model.add_tokens", fmt::format("'{}' is named twice", token), "name it once");
    }
  }
}

void check_model(SectionChecker& c, const ModelSection& model) {
  if (model.path.empty()) c.missing("model.path", "a model is needed", "for instance model.path=/models/my-model");
  if (model.init == "random") c.without_effect({"model.adapter"}, "with model.init: random");
  if (!model.adapter.empty() && !parse_address(fs::current_path(), model.path).adapter.empty()) {
    c.mistake("model.adapter", "model.path already names an adapter", "keep one of the two");
  }
  check_added_tokens(c, model.add_tokens);
}

// A word of adapter.init with a slip of the pen is no adapter that is gone on from; check_paths tells it.
bool is_slip(const fs::path& init) {
  std::vector<std::string> words;
  for (const auto& choice : kAdapterInit) words.emplace_back(choice.word);
  std::error_code error;
  return !fs::exists(init, error) && !closest_match(init.filename().string(), words).empty();
}

void check_adapter(SectionChecker& c, const AdapterSection& adapter) {
  if (adapter.kind == AdapterKind::full) {
    c.without_effect({"adapter.rank", "adapter.alpha", "adapter.dropout", "adapter.targets", "adapter.layers",
                      "adapter.rank_pattern", "adapter.alpha_pattern", "adapter.modules_to_save", "adapter.rslora",
                      "adapter.init", "adapter.lr_ratio", "adapter.qat"},
                     "with adapter.kind: full");
    return;
  }
  if (!starts_fresh(adapter) && !is_slip(adapter.init)) {
    c.without_effect({"adapter.kind", "adapter.rank", "adapter.alpha", "adapter.targets", "adapter.layers",
                      "adapter.rank_pattern", "adapter.alpha_pattern", "adapter.modules_to_save", "adapter.rslora"},
                     "when adapter.init goes on from an adapter, which brings its own");
  }
  c.mistakes(contradictions(adapter));
  int64_t rank = adapter.rank;
  for (const auto& [pattern, value] : adapter.rank_pattern) rank = std::max(rank, value);
  if (adapter.init == "pissa") {
    c.warn(
        fmt::format("adapter.init: pissa changes the base, so the adapter is handed over against the original base "
                    "at twice the rank, {}",
                    rank *= 2));
  }
  if (rank > 16) {
    c.warn(
        fmt::format("adapter.rank: vLLM serves ranks above 16 only with --max-lora-rank {}; serve.md says so", rank));
  }
}

// `reads_train`: data.eval alone is not enough.
void check_data(SectionChecker& c, const DataSection& data, bool reads_train) {
  const char* read = reads_train ? "data.train" : "data.eval";
  if ((reads_train ? data.train : data.eval).empty() && c.has(read))
    c.mistake(read, "expected at least one file, got an empty list");
  if (reads_train && data.train.empty())
    c.missing("data.train", "there are no rows to learn from", "for instance data.train=rows.jsonl");
  if (!reads_train && data.eval.empty())
    c.missing("data.eval", "there is nothing to score on", "for instance data.eval=test.jsonl");
  if (!data.eval.empty() && data.eval_split.value_or(0) > 0) c.exclusive("data.eval_split", "data.eval");
  if (data.eval_split) c.whole_above_one("data.eval_split", *data.eval_split);
  if (!data.eval.empty()) {
    c.without_effect({"data.split_by", "data.stratify"}, "when data.eval names the held-out rows");
  } else if (data.eval_split == 0) {
    c.without_effect({"data.split_by", "data.stratify"}, "with data.eval_split: 0");
  }
  if (data.prompt.empty() != data.completion.empty()) {
    const bool prompt = data.prompt.empty();
    c.missing(prompt ? "data.prompt" : "data.completion", "data.prompt and data.completion build a row together",
              prompt ? "add data.prompt, for instance \"{{ question }}\""
                     : "add data.completion, for instance \"{{ answer }}\"");
  }
  if (!data.prompt.empty() && data.format != DataFormat::automatic && data.format != DataFormat::completion) {
    c.without_effect({"data.format"}, "when data.prompt and data.completion build the rows");
  }
  const bool text = data.format == DataFormat::text;
  if (data.overlong == Overlong::split && !text && data.format != DataFormat::automatic) {
    c.mistake("data.overlong", "split is for data.format: text", "use error, drop or truncate");
  }
  if (data.chat == ChatMode::off) {
    c.without_effect({"data.system", "data.template", "data.template_args"}, "with data.chat: off");
  } else if (text && data.chat == ChatMode::automatic) {
    c.without_effect({"data.system", "data.template", "data.template_args"}, "with data.format: text");
  }
}

// Rows of preferences teach another objective.
void check_examples(SectionChecker& c, const DataSection& data, std::string_view kind) {
  if (data.format != DataFormat::preference && data.format != DataFormat::labels) return;
  const bool pairs = data.format == DataFormat::preference;
  c.mistake("data.format",
            fmt::format("{} says which {}, which a recipe of kind {} does not read", word_of(data.format),
                        pairs ? "of two answers is better" : "answers are good", kind),
            fmt::format("`recipe: {}` learns from {} rows", pairs ? "dpo" : "kto", word_of(data.format)));
}

void check_train(SectionChecker& c, const TrainSection& train, const DataSection& data, const EvalSection& eval) {
  if (*train.batch > 0 && train.batch_tokens > 0) c.exclusive("train.batch", "train.batch_tokens");
  if (*train.batch == 0 && train.batch_tokens == 0)
    c.mistake("train.batch", "0 means by batch_tokens, which is not given");
  if (*train.epochs > 0 && train.steps > 0) c.exclusive("train.epochs", "train.steps");
  if (*train.epochs == 0 && train.steps == 0) c.mistake("train.epochs", "0 means by steps, which is not given");
  const bool by_eval = train.select != Select::last;
  if (train.patience > 0 && !by_eval) {
    c.mistake("train.patience", "needs a metric to watch", "add train.select: eval.loss or eval.accuracy");
  }
  const bool no_eval_data = data.eval.empty() && data.eval_split == 0;
  if (no_eval_data) {
    if (by_eval) c.mistake("train.select", "there is no evaluation data", "give data.eval, or data.eval_split above 0");
    c.without_effect({"train.eval_every", "eval.tasks", "eval.limit", "eval.choices", "eval.normalize",
                      "eval.max_new_tokens", "eval.require"},
                     "without evaluation data", "give data.eval, or data.eval_split above 0");
  }
  const auto& tasks = eval.tasks;
  const bool scores = std::any_of(tasks.begin(), tasks.end(), [](const auto& task) { return task != "loss"; });
  if (train.select == Select::eval_accuracy && !scores) {
    c.mistake("train.select", "eval.accuracy needs a task that has one", "add eval.tasks: [choice] or [exact]");
  }
}

void check_optim(SectionChecker& c, const OptimSection& optim, const TrainSection& train) {
  if (optim.warmup) c.whole_above_one("optim.warmup", *optim.warmup);
  const double warmup = optim.warmup.value_or(0);
  if (warmup >= 1 && train.steps > 0) {
    if (auto warning = warmup_warning(warmup, train.steps); !warning.empty()) c.warn(std::move(warning));
  }
  if (optim.schedule != Schedule::wsd) c.without_effect({"optim.decay"}, "without optim.schedule: wsd");
  if (optim.schedule == Schedule::constant && *optim.min_lr != 0)
    c.without_effect({"optim.min_lr"}, "with optim.schedule: constant");
  if (optim.name != OptimizerName::adamw) c.without_effect({"optim.eps"}, "without optim.name: adamw");
}

void check_export(SectionChecker& c, const ExportSection& exports) {
  if (!exports.verify) c.without_effect({"export.limits"}, "without export.verify");
  check_limits(c, "export.limits", exports.limits);
  if (!exports.peft) c.without_effect({"export.dtype"}, "without export.peft");
  if (exports.gguf.empty()) c.without_effect({"export.types", "export.imatrix"}, "without export.gguf");
  const auto has_no_weights = [](const std::string& type) { return type.find('_') == type.npos || type == "Q8_0"; };
  if (!exports.gguf.empty() && exports.types.empty() && std::ranges::all_of(exports.gguf, has_no_weights))
    c.without_effect({"export.imatrix"}, "with these types of export.gguf, which weight all columns alike");
  if (std::set(exports.gguf.begin(), exports.gguf.end()).size() < exports.gguf.size()) {
    c.mistake("export.gguf", "a type is named twice");
  }
  if (exports.name.find_first_of("/\\") != std::string::npos || exports.name == "." || exports.name == "..") {
    c.mistake("export.name", "expected a plain file name, got " + exports.name);
  }
}

void check_asks_for_something(SectionChecker& c, const ExportSection& exports) {
  if (exports.peft || exports.merged != "none" || !exports.gguf.empty() || exports.gguf_adapter != "none") return;
  c.mistake("export.peft", "nothing is exported", "set export.peft, export.merged, export.gguf or export.gguf_adapter");
}

void check_gguf_adapter(SectionChecker& c, const ModelSection& model, const AdapterSection& adapter) {
  if (adapter.kind == AdapterKind::full) {
    c.mistake("export.gguf_adapter", "there is no adapter with adapter.kind: full", "use export.gguf");
  } else {
    c.mistakes(gguf_adapter_mistakes(adapter.kind == AdapterKind::dora, adapter.modules_to_save));
    if (!model.add_tokens.empty()) {
      c.mistake("export.gguf_adapter",
                "a GGUF adapter cannot carry embedding and head, which model.add_tokens trains whole",
                "export the merged model: export.gguf=[F16]");
    }
  }
}

void check_generate(SectionChecker& c, const GenerateSection& generate) {
  if (generate.temperature > 0) return;
  c.without_effect({"generate.top_p", "generate.top_k", "generate.seed"}, "at temperature 0",
                   "set generate.temperature");
  if (generate.n > 1) c.mistake("generate.n", "every sample is the same at temperature 0", "set generate.temperature");
}

}  // namespace

std::string warmup_warning(double warmup, int64_t steps) {
  if (warmup < static_cast<double>(steps)) return "";
  return fmt::format("optim.warmup: {} steps of warm-up in a run of {}: the learning rate never reaches its peak",
                     number_text(warmup), steps);
}

template <class R>
void check_recipe(R& r, const Node& root, RecipeMistakes& mistakes) {
  SectionChecker c(r, root, mistakes);
  constexpr bool training = requires { r.train; };
  constexpr bool reads_train = kReadsTrain<R>;
  check_run(c, r.run);
  if constexpr (requires { r.model; }) check_model(c, r.model);
  if constexpr (requires { r.adapter; }) {
    check_adapter(c, r.adapter);
    if (r.adapter.kind == AdapterKind::full && r.exports.peft) {
      c.mistake("export.peft", "there is no adapter with adapter.kind: full", "use export.merged");
    }
    if (r.adapter.kind == AdapterKind::full && r.model.quantize != "none") {
      c.mistake("model.quantize", "all weights train with adapter.kind: full, and four bits cannot",
                "remove it, or train an adapter");
    }
    if (r.exports.gguf_adapter != "none") check_gguf_adapter(c, r.model, r.adapter);
    for (auto& warning : check_qat(c, R::kKind, r.model, r.adapter, r.exports)) c.warn(std::move(warning));
  }
  if constexpr (training) {
    bool full = true;
    if constexpr (requires { r.adapter; }) full = r.adapter.kind == AdapterKind::full;
    if (full && r.exports.merged == "nf4") {
      c.mistake("export.merged", "merged/ is what was trained, of which nf4 keeps four bits",
                "use f32, bf16 or f16, and `prentice export export.merged=nf4` afterwards");
    }
  }
  if constexpr (requires { r.verify; }) check_verify(c, r);
  if constexpr (requires { r.data; }) {
    constexpr bool may_lack_rows = requires { r.verify; };
    if (!may_lack_rows || !r.data.eval.empty()) check_data(c, r.data, reads_train);
  }
  if constexpr (std::is_same_v<R, ImatrixRecipe>) {
    if (r.data.format == DataFormat::text) c.without_effect({"data.overlong"}, "with text, which is cut into chunks");
  }
  if constexpr (std::is_same_v<R, RewardRecipe>) {
    check_pairs(c, r.data, false);
  } else if constexpr (
      requires { r.data; } && !requires { r.preference; }) {
    bool pairs = false;
    if constexpr (std::is_same_v<R, EvalRecipe> || std::is_same_v<R, CompareRecipe>)
      pairs = std::ranges::count(r.eval.tasks, kPreferenceTask) > 0;
    pairs ? check_pairs(c, r.data, false) : check_examples(c, r.data, R::kKind);
  }
  if constexpr (training) {
    check_train(c, r.train, r.data, r.eval);
    check_optim(c, r.optim, r.train);
  }
  if constexpr (requires { r.preference; }) check_preference(c, r);
  if constexpr (requires { r.distill; }) check_distill(c, r);
  if constexpr (requires { r.teach; }) check_teach(c, r);
  if constexpr (requires { r.eval; }) check_eval(c, r.eval, training, kComparesAnswers<R>);
  if constexpr (requires { r.compare; }) check_compare(c, r.compare, r.eval);
  if constexpr (requires { r.exports; }) check_export(c, r.exports);
  if constexpr (requires { r.generate; }) check_generate(c, r.generate);
  if constexpr (std::is_same_v<R, ExportRecipe>) check_asks_for_something(c, r.exports);
}

#define PRENTICE_CHECKS(R) template void check_recipe<R>(R&, const Node&, RecipeMistakes&);
PRENTICE_KINDS(PRENTICE_CHECKS)
#undef PRENTICE_CHECKS

}  // namespace prentice
