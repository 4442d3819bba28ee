#include "recipes/promises.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "config/address.h"
#include "config/read.h"
#include "config/values.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

// The parts of an address that stands in an expanded step.
Address here(const std::string& text) { return parse_address(fs::current_path(), text); }

// What later steps find in the run folders of earlier ones.
struct Promises {
  std::map<fs::path, Node> models;    // the model section that the run begins with
  std::map<fs::path, Node> adapters;  // the adapter section that it trains by
  std::set<fs::path> scorers;         // runs that make a reward model, or write one
  std::vector<fs::path> outs;

  bool holds(const std::string& path) const { return is_promised(path, outs); }
  bool is_scorer(const fs::path& path) const { return scorers.contains(path) || scorers.contains(path.parent_path()); }
};

// What the run named by `path` stands for: the run folder itself, or `product` in it.
const Node* left_by(const std::map<fs::path, Node>& runs, const fs::path& path, const char* product) {
  auto found = runs.find(path);
  if (found == runs.end() && path.filename() == product) found = runs.find(path.parent_path());
  return found == runs.end() ? nullptr : &found->second;
}

// A word that may lead to another step, and the section it stands in.
struct Word {
  Node* section = nullptr;
  const Node* node = nullptr;

  explicit operator bool() const { return node != nullptr; }
};

// None where the key is not there, or is no word.
Word word_at(PromisedStep& step, const char* section, const char* key) {
  Node* found = step.step.recipe.find(section);
  const Node* node = found ? found->find(key) : nullptr;
  return node && node->is_scalar() ? Word{found, node} : Word{};
}

// Shape and tokenizer are those that the earlier step began with.
void take_promised_model(PromisedStep& next, const Promises& promises) {
  const Word word = word_at(next, "model", "path");
  if (!word) return;
  Node* const model = word.section;
  const Node* path = word.node;
  const Address address = here(path->text());
  const auto is_made = [&](const std::string& adapter) { return promises.holds(here(adapter).path); };
  if (const Word adapter = word_at(next, "model", "adapter"); adapter && is_made(adapter.node->text())) {
    next.promised = true;
    next.scores = promises.is_scorer(here(adapter.node->text()).path);
    std::erase_if(model->members(), [](const Node::Member& member) { return member.key == "adapter"; });
    path = model->find("path");
  }
  if (is_made(address.adapter)) {
    next.promised = true;
    next.scores = next.scores || promises.is_scorer(here(address.adapter).path);
    model->set("path", Node::scalar(without_adapter(address), true, path->position()));
  }
  const Node* begins = left_by(promises.models, address.path, "merged");
  next.shape_known = begins != nullptr || !promises.holds(address.path);
  if (begins == nullptr) return;
  next.promised = true;
  next.scores = next.scores || promises.is_scorer(address.path);
  for (const char* key : {"path", "tokenizer"}) {
    if (const Node* value = begins->find(key)) model->set(key, *value);
  }
  const Node* tokens = begins->find("add_tokens");
  if (tokens && trains(next.step.kind) && !model->find("add_tokens")) model->set("add_tokens", *tokens);
  if (next.step.kind != ExportRecipe::kKind) model->set("init", Node::scalar("random"));
}

// An adapter to go on from is as large as the section says that the earlier step trains by.
void take_promised_adapter(PromisedStep& next, const Promises& promises) {
  const Word init = word_at(next, "adapter", "init");
  if (!init) return;
  const fs::path path = here(init.node->text()).path;
  if (const Node* trained = left_by(promises.adapters, path, "adapter")) {
    next.adapter = {.init = *init.node, .scores = promises.is_scorer(path)};
    *init.section = Node(*trained);
  } else if (promises.holds(path)) {
    next.shape_known = false;
  }
}

// The section as text is enough: what is wrong with it is told of its own step.
void take_promised_teacher(PromisedStep& next, const Promises& promises) {
  const Word teacher = word_at(next, "distill", "teacher");
  if (!teacher) return;
  const Address address = here(teacher.node->text());
  const std::string adapter = here(address.adapter).path;
  if (!promises.holds(address.path) && !promises.holds(adapter)) return;
  next.second_scores = promises.is_scorer(address.path) || promises.is_scorer(adapter);
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

// What a word that may name another step's model stands for before that has run.
struct Foretold {
  std::string address;      // as large: the model that the step begins with; as it is written where none makes it
  bool scores = false;      // the step makes a reward model
  bool shape_known = true;  // not so for any other part of what a step makes
};

Foretold foretell(const std::string& written, const Promises& promises) {
  const Address address = here(written);
  const std::string adapter = here(address.adapter).path;
  Foretold found{.address = promises.holds(adapter) ? without_adapter(address) : written,
                 .scores = promises.is_scorer(address.path) || promises.is_scorer(adapter)};
  if (const Node* begins = left_by(promises.models, address.path, "merged")) {
    const Node* base = begins->find("path");
    if (base && base->is_scalar()) found.address = absolute_address(folder_of(base->position()), base->text());
  } else {
    found.shape_known = !promises.holds(address.path);
  }
  return found;
}

// Another model to compare with is as large as the one that its run begins with.
void take_promised_reference(PromisedStep& next, const Promises& promises) {
  const Word reference = word_at(next, "preference", "reference");
  if (!reference) return;
  const std::string written = reference.node->text();
  const Foretold found = foretell(written, promises);
  next.second_scores = found.scores;
  next.shape_known = next.shape_known && found.shape_known;
  next.reference_promised = found.address != written;
  reference.section->set("reference", Node::scalar(found.address, true, reference.node->position()));
}

void take_promised_sides(PromisedStep& next, const Promises& promises) {
  for (size_t i = 0; i < next.side_scores.size(); ++i) {
    const char* key = i == 0 ? "a" : "b";
    const Word side = word_at(next, "compare", key);
    if (!side) continue;
    const Foretold found = foretell(side.node->text(), promises);
    next.side_scores[i] = found.scores;
    next.shape_known = next.shape_known && found.shape_known;
    side.section->set(key, Node::scalar(found.address, true, side.node->position()));
  }
}

// Of a verification the plan needs the model's shape alone.
void take_promised_trained(PromisedStep& next, const Promises& promises) {
  const Word model = word_at(next, "verify", "model");
  if (!model) return;
  const Foretold found = foretell(model.node->text(), promises);
  next.shape_known = next.shape_known && found.shape_known;
  model.section->set("model", Node::scalar(found.address, true, model.node->position()));
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
    take_promised_sides(next, promises);
    take_promised_trained(next, promises);
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

}  // namespace prentice
