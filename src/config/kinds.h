// What each recipe kind is made of: its sections, and the keys of them that it does not consume.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "config/node.h"
#include "config/schema.h"

namespace prentice {

// Common to all kinds.
struct RecipeFacts {
  std::string name;                   // of the run: the last part of run.out (default: the recipe file's stem)
  std::map<std::string, Node> given;  // "section.key" -> what the user wrote; everything else is a default
  std::set<std::string> changed;      // of those, the keys whose value is not the default
  std::vector<std::string> warnings;  // legal, but worth a line

  bool has(std::string_view key) const { return given.contains(std::string(key)); }
};

struct PretrainRecipe : RecipeFacts {
  static constexpr std::string_view kKind = "pretrain";
  RunSection run;
  ModelSection model;
  DataSection data;
  TrainSection train;
  OptimSection optim;
  EvalSection eval;
  ExportSection exports;
  PlanSection plan;
};

struct SftRecipe : RecipeFacts {
  static constexpr std::string_view kKind = "sft";
  RunSection run;
  ModelSection model;
  AdapterSection adapter;
  DataSection data;
  TrainSection train;
  OptimSection optim;
  EvalSection eval;
  ExportSection exports;
  PlanSection plan;
};

struct DpoRecipe : RecipeFacts {
  static constexpr std::string_view kKind = "dpo";
  RunSection run;
  ModelSection model;
  AdapterSection adapter;
  DataSection data;
  TrainSection train;
  OptimSection optim;
  PreferenceSection preference;
  EvalSection eval;
  ExportSection exports;
  PlanSection plan;
};

struct DistillRecipe : RecipeFacts {
  static constexpr std::string_view kKind = "distill";
  RunSection run;
  ModelSection model;
  AdapterSection adapter;
  DataSection data;
  TrainSection train;
  OptimSection optim;
  DistillSection distill;
  EvalSection eval;
  ExportSection exports;
  PlanSection plan;
  // What leads to the teacher: distill.teacher, or what an earlier step of a pipeline begins with that will make it.
  ModelSection teacher;
  bool teacher_promised = false;
  bool trust_store = false;  // --trust-store: a store's files are taken as they are
};

struct RewardRecipe : RecipeFacts {
  static constexpr std::string_view kKind = "reward";
  RunSection run;
  ModelSection model;
  AdapterSection adapter;
  DataSection data;
  TrainSection train;
  OptimSection optim;
  EvalSection eval;
  ExportSection exports;
  PlanSection plan;
};

struct EvalRecipe : RecipeFacts {
  static constexpr std::string_view kKind = "eval";
  RunSection run;
  ModelSection model;
  DataSection data;
  EvalSection eval;
  PlanSection plan;
};

struct TeachRecipe : RecipeFacts {
  static constexpr std::string_view kKind = "teach";
  RunSection run;
  ModelSection model;
  DataSection data;
  TeachSection teach;
  PlanSection plan;
};

struct ImatrixRecipe : RecipeFacts {
  static constexpr std::string_view kKind = "imatrix";
  RunSection run;
  ModelSection model;
  DataSection data;
  PlanSection plan;
};

struct ExportRecipe : RecipeFacts {
  static constexpr std::string_view kKind = "export";
  RunSection run;
  ModelSection model;
  ExportSection exports;
  PlanSection plan;
};

struct GenerateRecipe : RecipeFacts {
  static constexpr std::string_view kKind = "generate";
  RunSection run;
  ModelSection model;
  GenerateSection generate;
};

struct CompareRecipe : RecipeFacts {
  static constexpr std::string_view kKind = "compare";
  RunSection run;
  DataSection data;
  EvalSection eval;
  CompareSection compare;
};

struct VerifyRecipe : RecipeFacts {
  static constexpr std::string_view kKind = "verify";
  RunSection run;
  DataSection data;
  VerifySection verify;
  PlanSection plan;
};

struct PipelineRecipe : RecipeFacts {
  static constexpr std::string_view kKind = "pipeline";
  RunSection run;
  PipelineSection pipeline;
};

// Calls v(section name, section) for each section, in life order.
template <class V>
void sections(V&& v, PretrainRecipe& r) {
  v("run", r.run), v("model", r.model), v("data", r.data), v("train", r.train), v("optim", r.optim), v("eval", r.eval);
  v("export", r.exports), v("plan", r.plan);
}
template <class V>
void sections(V&& v, SftRecipe& r) {
  v("run", r.run), v("model", r.model), v("adapter", r.adapter), v("data", r.data), v("train", r.train);
  v("optim", r.optim), v("eval", r.eval), v("export", r.exports), v("plan", r.plan);
}
template <class V>
void sections(V&& v, DpoRecipe& r) {
  v("run", r.run), v("model", r.model), v("adapter", r.adapter), v("data", r.data), v("train", r.train);
  v("optim", r.optim), v("preference", r.preference), v("eval", r.eval), v("export", r.exports), v("plan", r.plan);
}
template <class V>
void sections(V&& v, DistillRecipe& r) {
  v("run", r.run), v("model", r.model), v("adapter", r.adapter), v("data", r.data), v("train", r.train);
  v("optim", r.optim), v("distill", r.distill), v("eval", r.eval), v("export", r.exports), v("plan", r.plan);
}
template <class V>
void sections(V&& v, RewardRecipe& r) {
  v("run", r.run), v("model", r.model), v("adapter", r.adapter), v("data", r.data), v("train", r.train);
  v("optim", r.optim), v("eval", r.eval), v("export", r.exports), v("plan", r.plan);
}
template <class V>
void sections(V&& v, EvalRecipe& r) {
  v("run", r.run), v("model", r.model), v("data", r.data), v("eval", r.eval), v("plan", r.plan);
}
template <class V>
void sections(V&& v, TeachRecipe& r) {
  v("run", r.run), v("model", r.model), v("data", r.data), v("teach", r.teach), v("plan", r.plan);
}
template <class V>
void sections(V&& v, ImatrixRecipe& r) {
  v("run", r.run), v("model", r.model), v("data", r.data), v("plan", r.plan);
}
template <class V>
void sections(V&& v, ExportRecipe& r) {
  v("run", r.run), v("model", r.model), v("export", r.exports), v("plan", r.plan);
}
template <class V>
void sections(V&& v, GenerateRecipe& r) {
  v("run", r.run), v("model", r.model), v("generate", r.generate);
}
template <class V>
void sections(V&& v, CompareRecipe& r) {
  v("run", r.run), v("data", r.data), v("eval", r.eval), v("compare", r.compare);
}
template <class V>
void sections(V&& v, VerifyRecipe& r) {
  v("run", r.run), v("data", r.data), v("verify", r.verify), v("plan", r.plan);
}
template <class V>
void sections(V&& v, PipelineRecipe& r) {
  v("run", r.run), v("pipeline", r.pipeline);
}

// THE list of the kinds that are built, for what is instantiated once per kind.
#define PRENTICE_TRAINING_KINDS(X) X(PretrainRecipe) X(SftRecipe) X(DpoRecipe) X(DistillRecipe) X(RewardRecipe)
#define PRENTICE_MODEL_KINDS(X) \
  PRENTICE_TRAINING_KINDS(X) X(TeachRecipe) X(EvalRecipe) X(ImatrixRecipe) X(ExportRecipe) X(GenerateRecipe)
#define PRENTICE_KINDS(X) PRENTICE_MODEL_KINDS(X) X(CompareRecipe) X(VerifyRecipe) X(PipelineRecipe)

// Calls f with a default recipe of each kind.
template <class F>
void for_each_kind(F&& f) {
#define PRENTICE_CALL(R) f(R());
  PRENTICE_KINDS(PRENTICE_CALL)
#undef PRENTICE_CALL
}

[[noreturn]] void fail_no_kind(std::string_view kind);

// f.operator()<R>() for the recipe type R of `kind`, a word of PRENTICE_KINDS. Errors: `internal` for any other word.
template <class F>
auto with_kind(std::string_view kind, F&& f) -> decltype(f.template operator()<PipelineRecipe>()) {
#define PRENTICE_CALL(R) \
  if (kind == R::kKind) return f.template operator()<R>();
  PRENTICE_KINDS(PRENTICE_CALL)
#undef PRENTICE_CALL
  fail_no_kind(kind);
}

// Kinds whose runs train a model.
template <class R>
inline constexpr bool kTrains = requires(R recipe) {
  recipe.train;
};
bool trains(std::string_view kind);

// Kinds that read data.train as rows a model is run over.
template <class R>
inline constexpr bool kReadsTrain = kTrains<R> || std::is_same_v<R, TeachRecipe> || std::is_same_v<R, ImatrixRecipe>;

// Kinds that learn from pairs of answers, and whose one task of evaluation is kPreferenceTask.
template <class R>
inline constexpr bool kComparesAnswers = std::is_same_v<R, DpoRecipe> || std::is_same_v<R, RewardRecipe>;

// The adapter that a kind trains; pretraining trains every weight.
template <class R>
AdapterSection adapter_of(const R& recipe) {
  AdapterSection adapter;
  if constexpr (requires { recipe.adapter; }) {
    adapter = recipe.adapter;
  } else {
    adapter.kind = AdapterKind::full;
  }
  return adapter;
}

// Another word for a kind: `recipe: orpo` is `recipe: dpo` with preference.loss: orpo.
struct KindAlias {
  std::string_view word, kind;
  PreferenceLoss loss;
};
std::span<const KindAlias> kind_aliases();
const KindAlias* find_alias(std::string_view word);  // null when it is none
// `word`, or the kind that it is another word for.
std::string_view kind_behind(std::string_view word);

const std::vector<std::string>& recipe_kinds();         // built, in the order above
std::span<const std::string_view> later_kinds();        // known to the contract, not in this version
std::string_view describe_kind(std::string_view kind);  // one line of help; "" for an unknown kind

// The task of evaluation on pairs: loss, and the share of them whose chosen answer has the greater reward.
inline constexpr std::string_view kPreferenceTask = "preference";

// Whether `kind` reads section.key at all; only asked for sections it has.
bool consumes(std::string_view kind, std::string_view section_key);

// Fills what depends on the kind and on other keys (learning rate, batch, epochs, alpha, betas, ...). What
// depends on data or machine stays undecided.
#define PRENTICE_RESOLVES(R) void resolve_defaults(R&);
PRENTICE_KINDS(PRENTICE_RESOLVES)
#undef PRENTICE_RESOLVES

}  // namespace prentice
