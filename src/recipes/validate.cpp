#include "recipes/validate.h"

#include <algorithm>
#include <map>
#include <set>

#include "config/address.h"
#include "config/checker.h"
#include "config/distill_rules.h"
#include "config/pipeline.h"
#include "recipes/fit.h"
#include "recipes/open.h"
#include "recipes/reference.h"
#include "recipes/score_head.h"
#include "recipes/student.h"
#include "recipes/teacher.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

// Whether a second model reads the tokens of the one that trains. Takes the tokenizers of both.
template <class R>
void check_tokens(Checker& c, const R& recipe, const PromisedStep& step, ModelShape shape) {
  const auto student = [&] { return make_student(recipe, open_model(std::move(shape), recipe.model, {})).opened; };
  if (shape.artifact.tokenizer.empty()) return;
  if constexpr (requires { recipe.distill; }) {
    const std::string& teacher = recipe.distill.teacher;
    if (recipe.teacher_promised || names_store(recipe.distill) || !address_exists(teacher, {})) return;
    c.gather("distill.teacher", [&] { open_teacher(recipe, student(), RunUse::plan); });
  }
  if constexpr (requires { recipe.preference; }) {
    const std::string& reference = recipe.preference.reference;
    if (!names_a_model(recipe.preference) || !address_exists(reference, {})) return;
    c.gather("preference.reference", [&] {
      const ModelShape other = reference_shape(recipe.preference);
      if (other.artifact.tokenizer.empty() || step.reference_promised) return;
      require_same_tokens({other.artifact.address, open_tokenizer(other.artifact, other.spec)}, student());
    });
  }
}

// What the adapter of another step gives is known before that step trains. True where the run takes it.
template <class R>
bool check_promised_adapter(const PromisedStep& step, RecipeMistakes& mistakes) {
  if (!kTrains<R> || !step.adapter) return true;
  const Node& init = step.adapter->init;
  return mistakes.gather(init.position(), "adapter.init", [&] {
    require_same_head(init.text(), step.adapter->scores, std::is_same_v<R, RewardRecipe>);
  });
}

// The words have been checked: what is wrong there is told already.
template <class R>
void check_with_model(const PromisedStep& step, RecipeMistakes& mistakes) {
  RecipeMistakes told;
  R recipe = bind_recipe<R>(step.step.recipe, {.check_paths = false, .in_pipeline = true}, told);
  if constexpr (requires { recipe.distill; }) take_teacher(recipe, step);
  const bool readable = check_expressions(recipe, mistakes);
  Checker c(recipe, mistakes);
  if (step.second_scores) {
    const bool distils = step.step.kind == DistillRecipe::kKind;
    c.mistake(distils ? "distill.teacher" : "preference.reference",
              "an earlier step makes a reward model of it, which gives a score and no words");
  }
  if (!check_promised_adapter<R>(step, mistakes)) return;
  const auto is_there = [](const std::string& address) { return address.empty() || address_exists(address, {}); };
  const ModelSection& model = recipe.model;
  if (!step.shape_known || model.path.empty() || !is_there(model.path) || !is_there(model.adapter)) return;
  if (std::error_code error; !model.tokenizer.empty() && !std::filesystem::exists(model.tokenizer, error)) return;
  if constexpr (requires { recipe.adapter; }) {
    if (!starts_fresh(recipe.adapter) && !is_there(recipe.adapter.init)) return;
  }
  c.gather("model.path", [&] {
    ModelShape shape = promised_shape(model, step);
    if (readable) check_fit(recipe, shape, mistakes);
    if constexpr (kTrains<R>) {
      if (told.empty()) check_tokens(c, recipe, step, std::move(shape));
    }
  });
}

void check_any_with_model(const PromisedStep& step, RecipeMistakes& mistakes) {
  with_kind(recipe_kind(step.step.recipe), [&]<class R>() {
    if constexpr (requires(R recipe) { recipe.model; }) check_with_model<R>(step, mistakes);
  });
}

// What later steps find in the run folders of earlier ones.
struct Promises {
  std::map<fs::path, Node> models;    // the model section that the run begins with
  std::map<fs::path, Node> adapters;  // the adapter section that it trains by
  std::set<fs::path> scorers;         // runs that make a reward model, or write one
  std::vector<fs::path> outs;

  bool holds(const std::string& path) const { return is_promised(path, outs); }
  bool score(const fs::path& path) const { return scorers.contains(path) || scorers.contains(path.parent_path()); }
};

// What the run named by `path` stands for: the run folder itself, or `product` in it.
const Node* left_by(const std::map<fs::path, Node>& runs, const fs::path& path, const char* product) {
  auto found = runs.find(path);
  if (found == runs.end() && path.filename() == product) found = runs.find(path.parent_path());
  return found == runs.end() ? nullptr : &found->second;
}

// Shape and tokenizer are those that the earlier step began with.
void take_promised_model(PromisedStep& next, const Promises& promises) {
  Node* model = next.step.recipe.find("model");
  const Node* path = model ? model->find("path") : nullptr;
  if (!path || !path->is_scalar()) return;
  const Address address = parse_address(fs::current_path(), path->text());
  const auto is_made = [&](const std::string& adapter) {
    return promises.holds(parse_address(fs::current_path(), adapter).path);
  };
  if (const Node* adapter = model->find("adapter"); adapter && adapter->is_scalar() && is_made(adapter->text())) {
    next.promised = true;
    next.scores = promises.score(parse_address(fs::current_path(), adapter->text()).path);
    std::erase_if(model->members(), [](const Node::Member& member) { return member.key == "adapter"; });
    path = model->find("path");
  }
  if (is_made(address.adapter)) {
    next.promised = true;
    next.scores = next.scores || promises.score(parse_address(fs::current_path(), address.adapter).path);
    model->set("path", Node::scalar(path->text().substr(0, path->text().size() - address.adapter.size() - 1), true,
                                    path->position()));
  }
  const Node* begins = left_by(promises.models, address.path, "merged");
  next.shape_known = begins != nullptr || !promises.holds(address.path);
  if (begins == nullptr) return;
  next.promised = true;
  next.scores = next.scores || promises.score(address.path);
  for (const char* key : {"path", "tokenizer"}) {
    if (const Node* value = begins->find(key)) model->set(key, *value);
  }
  const Node* tokens = begins->find("add_tokens");
  if (tokens && trains(next.step.kind) && !model->find("add_tokens")) model->set("add_tokens", *tokens);
  if (next.step.kind != ExportRecipe::kKind) model->set("init", Node::scalar("random"));
}

// An adapter to go on from is as large as the section says that the earlier step trains by.
void take_promised_adapter(PromisedStep& next, const Promises& promises) {
  Node* adapter = next.step.recipe.find("adapter");
  const Node* init = adapter ? adapter->find("init") : nullptr;
  if (!init || !init->is_scalar()) return;
  const fs::path path = parse_address(fs::current_path(), init->text()).path;
  if (const Node* trained = left_by(promises.adapters, path, "adapter")) {
    next.adapter = {.init = *init, .scores = promises.score(path)};
    *adapter = Node(*trained);
  } else if (promises.holds(path)) {
    next.shape_known = false;
  }
}

// The section as text is enough: what is wrong with it is told of its own step.
void take_promised_teacher(PromisedStep& next, const Promises& promises) {
  Node* distill = next.step.recipe.find("distill");
  const Node* teacher = distill ? distill->find("teacher") : nullptr;
  if (!teacher || !teacher->is_scalar()) return;
  const Address address = parse_address(fs::current_path(), teacher->text());
  const std::string adapter = parse_address(fs::current_path(), address.adapter).path;
  if (!promises.holds(address.path) && !promises.holds(adapter)) return;
  next.second_scores = promises.score(address.path) || promises.score(adapter);
  next.teacher.emplace();  // nothing is known of it but that it will be there
  if (!promises.holds(address.path)) {
    next.teacher->path = address.path;
  } else if (const Node* model = left_by(promises.models, address.path, "merged")) {
    const auto text_of = [&](const char* key, auto&& absolute) -> std::string {
      const Node* found = model->find(key);
      return found && found->is_scalar() ? absolute(folder_of(found->position()), found->text()) : "";
    };
    next.teacher->path = text_of("path", absolute_address);
    next.teacher->tokenizer = text_of("tokenizer", absolute_from);
  }
}

// Another model to compare with is as large as the one that its run begins with.
void take_promised_reference(PromisedStep& next, const Promises& promises) {
  Node* preference = next.step.recipe.find("preference");
  const Node* reference = preference ? preference->find("reference") : nullptr;
  if (!reference || !reference->is_scalar()) return;
  const Address address = parse_address(fs::current_path(), reference->text());
  std::string path = reference->text();
  const fs::path adapter = parse_address(fs::current_path(), address.adapter).path;
  next.second_scores = promises.score(address.path) || promises.score(adapter);
  if (promises.holds(adapter)) {
    path.resize(path.size() - address.adapter.size() - 1);
  }
  if (const Node* begins = left_by(promises.models, address.path, "merged")) {
    const Node* base = begins->find("path");
    if (base && base->is_scalar()) path = absolute_address(folder_of(base->position()), base->text());
  } else if (promises.holds(address.path)) {
    next.shape_known = false;
  }
  next.reference_promised = path != reference->text();
  preference->set("reference", Node::scalar(path, true, reference->position()));
}

// Whether the rows to train on are in a file that is not there yet: their number and lengths are not known.
bool reads_promised_rows(const ExpandedStep& step, const Promises& promises) {
  return with_kind(step.kind, [&]<class R>() {
    if constexpr (kReadsTrain<R>) {
      RecipeMistakes told;
      const R recipe = bind_recipe<R>(step.recipe, {.check_paths = false, .in_pipeline = true}, told);
      const auto is_missing = [&](const WeightedFile& file) {
        std::error_code error;
        return promises.holds(file.path) && !fs::exists(file.path, error);
      };
      return std::ranges::any_of(recipe.data.train, is_missing) || std::ranges::any_of(recipe.data.eval, is_missing);
    } else {
      return false;
    }
  });
}

}  // namespace

void take_teacher(DistillRecipe& recipe, const PromisedStep& step) {
  if (!step.teacher) return;
  recipe.teacher = *step.teacher;
  recipe.teacher_promised = true;
}

ModelShape promised_shape(const ModelSection& model, const PromisedStep& step) {
  ModelShape shape = open_shape(model);
  shape.promised = step.promised;
  if (step.scores) {
    shape.spec = with_score_head(std::move(shape.spec));
    shape.artifact.address = "what an earlier step makes of " + shape.artifact.address;
  }
  return shape;
}

std::vector<PromisedStep> with_promised_models(std::vector<ExpandedStep> steps) {
  std::vector<PromisedStep> all;
  Promises promises;
  for (auto& step : steps) {
    PromisedStep next{.step = std::move(step)};
    take_promised_model(next, promises);
    take_promised_adapter(next, promises);
    take_promised_teacher(next, promises);
    take_promised_reference(next, promises);
    next.data_known = !reads_promised_rows(next.step, promises);
    const fs::path& out = next.step.out;
    if (const Node* model = next.step.recipe.find("model"); model && next.shape_known) {
      promises.models.emplace(out, *model);
      const Node* adapter = next.step.recipe.find("adapter");
      promises.adapters.emplace(out, adapter ? *adapter : Node::map());
      if (next.step.kind == RewardRecipe::kKind || next.scores) promises.scorers.insert(out);
    }
    promises.outs.push_back(out);
    all.push_back(std::move(next));
  }
  return all;
}

std::vector<std::string> validate_recipe(const Node& recipe) {
  RecipeMistakes mistakes;
  auto warnings = check_words(recipe, {}, mistakes);
  if (recipe_kind(recipe) != PipelineRecipe::kKind) {
    check_any_with_model({.step = {.recipe = recipe}}, mistakes);
  } else {
    RecipeMistakes told;
    for (const auto& next : with_promised_models(expand_steps(recipe, told))) {
      check_any_with_model(next, mistakes);
    }
  }
  mistakes.throw_if_any();
  return warnings;
}

}  // namespace prentice
