#include "config/kinds.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "config/adapter_rules.h"
#include "config/address.h"
#include "core/error.h"

namespace prentice {

namespace {

using Kinds = std::span<const std::string_view>;

constexpr std::string_view kPretrain[] = {"pretrain"}, kReward[] = {"reward"}, kTeach[] = {"teach"};
constexpr std::string_view kExport[] = {"export"}, kGenerate[] = {"generate"}, kCompare[] = {"compare"};
constexpr std::string_view kScoring[] = {"eval", "compare"};
constexpr std::string_view kOfPairs[] = {"dpo", "reward"};
// Nothing is held out or put into another order.
constexpr std::string_view kOfAllRows[] = {"eval", "teach", "compare", "imatrix", "verify"};
constexpr std::string_view kInference[] = {"eval", "export", "generate", "compare", "verify"};
constexpr std::string_view kImatrix[] = {"imatrix"}, kVerify[] = {"verify"};

struct Unused {
  Kinds kinds;
  std::string_view key;  // "section.key"
};

// Keys that stand in a section a kind has, and that the kind has no use for.
constexpr Unused kUnused[] = {
    {kPretrain, "data.system"},
    {kPretrain, "data.prompt"},
    {kPretrain, "data.completion"},
    {kPretrain, "data.chat"},
    {kPretrain, "data.template"},
    {kPretrain, "data.template_args"},
    {kPretrain, "data.train_on"},
    {kPretrain, "model.quantize"},
    {kPretrain, "model.adapter"},
    {kPretrain, "export.peft"},
    {kPretrain, "export.dtype"},
    {kPretrain, "export.gguf_adapter"},
    {kOfPairs, "data.prompt"},
    {kOfPairs, "data.completion"},
    {kOfPairs, "data.train_on"},
    {kOfPairs, "data.lines"},
    {kOfPairs, "eval.tasks"},
    {kOfPairs, "eval.choices"},
    {kOfPairs, "eval.normalize"},
    {kOfPairs, "eval.max_new_tokens"},
    {kReward, "export.gguf"},
    {kReward, "export.types"},
    {kReward, "export.gguf_adapter"},
    {kReward, "export.imatrix"},
    {kOfAllRows, "data.eval_split"},
    {kOfAllRows, "data.split_by"},
    {kOfAllRows, "data.stratify"},
    {kOfAllRows, "data.shuffle"},
    {kTeach, "data.eval"},
    {kTeach, "model.add_tokens"},
    {kScoring, "data.packing"},
    {kCompare, "eval.require"},
    {kExport, "model.quantize"},
    {kInference, "model.add_tokens"},
    {kInference, "run.log_every"},
    {kGenerate, "run.out"},
    {kVerify, "run.precision"},
    {kVerify, "data.train"},
    {kVerify, "data.packing"},
    {kImatrix, "data.packing"},
    {kImatrix, "data.train_on"},
    {kImatrix, "model.add_tokens"},
};

constexpr std::string_view kLaterKinds[] = {"classify", "embed", "route",    "prune", "rlhf",
                                            "sweep",    "bench", "registry", "drift"};

constexpr KindAlias kAliases[] = {{"kto", "dpo", PreferenceLoss::kto},
                                  {"orpo", "dpo", PreferenceLoss::orpo},
                                  {"simpo", "dpo", PreferenceLoss::simpo}};

template <class T, class U>
void decide(std::optional<T>& value, U chosen) {
  if (!value) value = chosen;
}

void resolve_run(RunSection& run, const RecipeFacts& facts) {
  if (run.out.empty()) {
    run.out = absolute_from(std::filesystem::current_path(), "runs/" + facts.name).string();
  }
}

void resolve_optimizer(OptimSection& optim, double lr, std::pair<double, double> betas, double weight_decay) {
  decide(optim.lr, lr);
  decide(optim.betas, betas);
  decide(optim.weight_decay, weight_decay);
  decide(optim.min_lr, optim.schedule == Schedule::cosine ? 0.1 : 0.0);
}

// Settings of the papers and of their authors' code, by loss.
double preference_rate(PreferenceLoss loss, bool full) {
  if (loss == PreferenceLoss::orpo) return full ? 8e-6 : 5e-5;
  if (loss == PreferenceLoss::simpo) return full ? 6e-7 : 5e-6;
  return full ? 5e-7 : 5e-6;
}

void resolve_preference(PreferenceSection& preference) {
  using enum PreferenceLoss;
  const auto loss = preference.loss;
  decide(preference.beta, loss == simpo ? 2.0 : 0.1);
  decide(preference.label_smoothing, loss == cdpo || loss == robust ? 0.1 : 0.0);
  decide(preference.gamma, loss == simpo ? 1.0 : 0.0);
  decide(preference.sft_weight, loss == cpo || loss == orpo ? 1.0 : 0.0);
}

// A yes or no is a word for the type.
void resolve_export(ExportSection& exports) {
  if (exports.gguf_adapter == "true") exports.gguf_adapter = "F32";
  if (exports.gguf_adapter == "false") exports.gguf_adapter = "none";
}

// Of a kind that trains an adapter or every weight; true where it is every weight.
template <class R>
bool resolve_adapter(R& r) {
  const bool full = r.adapter.kind == AdapterKind::full;
  if (!full && starts_fresh(r.adapter)) decide(r.adapter.alpha, r.adapter.rslora ? 8.0 : 32.0);
  if (full && !r.has("export.peft")) r.exports.peft = false;
  const std::string& qat = r.adapter.qat;
  if (qat == "Q3_K" || qat == "Q4_K" || qat == "Q5_K") r.adapter.qat += "_M";
  return full;
}

// One of batch and batch_tokens, one of epochs and steps: the other is 0.
void resolve_amount(TrainSection& train, int64_t batch, int64_t batch_tokens, double epochs) {
  if (!train.batch && train.batch_tokens == 0) train.batch = batch, train.batch_tokens = batch_tokens;
  decide(train.batch, 0);
  decide(train.epochs, train.steps > 0 ? 0.0 : epochs);
}

}  // namespace

const std::vector<std::string>& recipe_kinds() {
  static const std::vector<std::string> kinds = [] {
    std::vector<std::string> names;
    for_each_kind([&](const auto& recipe) { names.emplace_back(recipe.kKind); });
    return names;
  }();
  return kinds;
}

std::span<const KindAlias> kind_aliases() { return kAliases; }

const KindAlias* find_alias(std::string_view word) {
  const auto found = std::ranges::find(kAliases, word, &KindAlias::word);
  return found == std::end(kAliases) ? nullptr : found;
}

std::string_view kind_behind(std::string_view word) {
  const KindAlias* alias = find_alias(word);
  return alias ? alias->kind : word;
}

void fail_no_kind(std::string_view kind) {
  fail(ExitCode::internal, "no recipe type for the kind '" + std::string(kind) + "'");
}

bool trains(std::string_view kind) {
  return with_kind(kind, []<class R>() { return kTrains<R>; });
}

std::span<const std::string_view> later_kinds() { return kLaterKinds; }

std::string_view describe_kind(std::string_view kind) {
  static constexpr std::pair<std::string_view, std::string_view> kHelp[] = {
      {"pretrain", "train every weight on running text, from random weights or a model's own"},
      {"sft", "fine-tune on examples: an adapter (LoRA), or every weight"},
      {"dpo", "tune on preferences, answers that were chosen and rejected: DPO and its kin, KTO, ORPO, SimPO"},
      {"distill", "teach a student the distributions of a larger model, live, from a store, or on its own samples"},
      {"reward", "train a model that scores answers, from pairs of a better and a worse one (Bradley-Terry)"},
      {"teach", "run a teacher over data once: its log-probabilities as a store for distill, or its answers as data"},
      {"eval", "score a model on tasks; eval.require makes it a gate"},
      {"imatrix", "what enters each layer on calibration text, as llama.cpp's importance matrix: for export.imatrix"},
      {"export", "an adapter or model as PEFT, merged Hugging Face folder, GGUF"},
      {"generate", "sample from a model; --chat in a terminal"},
      {"compare", "two artifacts on the same rows, with a paired test; worse or undecided is exit 9"},
      {"verify",
       "prove a GGUF file, merged folder or adapter against the model it was made of; what differs is exit 9"},
      {"pipeline", "run recipes in order; a step that is done and unchanged is skipped"},
  };
  for (const auto& [name, help] : kHelp) {
    if (name == kind) return help;
  }
  return "";
}

bool consumes(std::string_view kind, std::string_view section_key) {
  return std::ranges::none_of(kUnused, [&](const Unused& unused) {
    return unused.key == section_key && std::ranges::find(unused.kinds, kind) != unused.kinds.end();
  });
}

void resolve_defaults(PretrainRecipe& r) {
  resolve_run(r.run, r);
  resolve_optimizer(r.optim, 1e-3, {0.9, 0.95}, 0.1);
  resolve_amount(r.train, 0, 65536, 1);
  if (r.data.format == DataFormat::automatic) r.data.format = DataFormat::text;
  r.data.train_on = TrainOn::all;
  r.data.chat = ChatMode::off;
  r.exports.peft = false;
}

void resolve_defaults(SftRecipe& r) {
  const bool full = resolve_adapter(r);
  resolve_run(r.run, r);
  resolve_optimizer(r.optim, full ? 1e-5 : 2e-4, {0.9, 0.999}, 0.0);
  resolve_amount(r.train, 16, 0, 3);
  resolve_export(r.exports);
}

void resolve_defaults(DpoRecipe& r) {
  const bool full = resolve_adapter(r);
  resolve_run(r.run, r);
  resolve_preference(r.preference);
  resolve_optimizer(r.optim, preference_rate(r.preference.loss, full), {0.9, 0.999}, 0.0);
  decide(r.optim.warmup, 0.1);
  resolve_amount(r.train, 32, 0, 1);
  r.eval.tasks = {std::string(kPreferenceTask)};
  resolve_export(r.exports);
}

void resolve_defaults(DistillRecipe& r) {
  const bool full = resolve_adapter(r), samples = r.distill.on_policy > 0;
  resolve_run(r.run, r);
  decide(r.distill.weight, samples ? 1.0 : 0.5);
  resolve_optimizer(r.optim, full ? 1e-5 : samples ? 1e-4 : 2e-4, {0.9, 0.999}, 0.0);
  resolve_amount(r.train, 16, 0, samples ? 1 : 3);
  resolve_export(r.exports);
  r.teacher.path = r.distill.teacher;
}

// What a reward model is used as is the folder with its score head: it is written by itself.
void resolve_defaults(RewardRecipe& r) {
  const bool full = resolve_adapter(r);
  resolve_run(r.run, r);
  resolve_optimizer(r.optim, full ? 1e-5 : 1e-4, {0.9, 0.999}, 0.0);
  resolve_amount(r.train, 32, 0, 1);
  r.eval.tasks = {std::string(kPreferenceTask)};
  if (!full && !r.has("export.merged")) r.exports.merged = "bf16";
}

void resolve_defaults(TeachRecipe& r) {
  resolve_run(r.run, r);
  r.data.eval_split = 0;  // every row is taught
}

void resolve_defaults(EvalRecipe& r) {
  resolve_run(r.run, r);
  if (r.eval.tasks.empty()) r.eval.tasks = {"loss"};
}

void resolve_defaults(ImatrixRecipe& r) {
  resolve_run(r.run, r);
  r.data.eval_split = 0;  // every row is seen, and every token of it
  r.data.train_on = TrainOn::all;
}

void resolve_defaults(ExportRecipe& r) {
  resolve_run(r.run, r);
  resolve_export(r.exports);
}

void resolve_defaults(GenerateRecipe&) {}

void resolve_defaults(CompareRecipe& r) {
  resolve_run(r.run, r);
  if (r.eval.tasks.empty()) r.eval.tasks = {"loss"};
}

void resolve_defaults(VerifyRecipe& r) { resolve_run(r.run, r); }

void resolve_defaults(PipelineRecipe& r) { resolve_run(r.run, r); }

}  // namespace prentice
