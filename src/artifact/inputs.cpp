#include "artifact/inputs.h"

#include <fmt/format.h>

#include "config/distill_rules.h"
#include "config/fields.h"
#include "config/preference_rules.h"
#include "teacher/store_layout.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// Visits the fields of a section (config/fields.h) and keeps those whose value is a file or folder to read.
class InputLister {
 public:
  InputLister(std::string section, std::vector<InputPath>& inputs) : section_(std::move(section)), inputs_(inputs) {}

  void operator()(std::string_view key, const std::string& value, const About& about) {
    // model.tokenizer is told by the artifact, which also knows the default.
    if (about.path == PathKind::input || about.path == PathKind::or_server || about.path == PathKind::if_path ||
        about.path == PathKind::if_adapter)
      add(key, value);
  }
  void operator()(std::string_view key, const std::vector<WeightedFile>& files, const About&) {
    for (size_t i = 0; i < files.size(); ++i) add(fmt::format("{}[{}]", key, i), files[i].path);
  }
  // eval.choices: one absolute path stands for the list (config/read.cpp).
  void operator()(std::string_view key, const std::vector<std::string>& words, const About&) {
    if (words.size() == 1 && words[0].starts_with('/')) add(key, words[0]);
  }
  template <class T>
  void operator()(std::string_view, const T&, const About&) {}
  void reserved(std::string_view, std::string_view) {}

 private:
  void add(std::string_view key, const std::string& value) {
    std::error_code error;
    if (!value.empty() && fs::exists(value, error)) inputs_.push_back({fmt::format("{}.{}", section_, key), value});
  }

  std::string section_;
  std::vector<InputPath>& inputs_;
};

// A second model that the recipe names.
void add_model(const std::string& key, const std::string& address, std::vector<InputPath>& inputs) {
  const Artifact artifact = resolve_model({.path = address}, key);
  if (artifact.has_weights()) inputs.push_back({key, artifact.base});
  if (!artifact.adapter.empty()) inputs.push_back({key + ", adapter", artifact.adapter});
}

}  // namespace

template <class R>
std::vector<InputPath> inputs_of(const R& recipe, const Artifact& artifact) {
  std::vector<InputPath> inputs;
  if constexpr (requires { recipe.model; }) {
    if (artifact.has_weights()) inputs.push_back({"model.path", artifact.base});
    if (!artifact.adapter.empty()) inputs.push_back({"model.adapter", artifact.adapter});
    if (!artifact.tokenizer.empty() && artifact.tokenizer != artifact.base)
      inputs.push_back({"model.tokenizer", artifact.tokenizer});
  }
  if constexpr (requires { recipe.compare; }) {
    add_model("compare.a", recipe.compare.a, inputs);
    add_model("compare.b", recipe.compare.b, inputs);
  }
  if constexpr (requires { recipe.verify; }) {
    add_model("verify.model", recipe.verify.model, inputs);
    add_model("verify.artifact", recipe.verify.artifact, inputs);
  }
  if constexpr (requires { recipe.preference; }) {
    if (names_a_model(recipe.preference)) add_model("preference.reference", recipe.preference.reference, inputs);
  }
  if constexpr (requires { recipe.distill; }) {
    const std::string& teacher = recipe.distill.teacher;
    if (names_store(recipe.distill)) {  // its manifest names the hash of everything in it
      for (const char* file : {kStoreFile, kStoreManifestFile})
        inputs.push_back({"distill.teacher", fs::path(teacher) / file});
    } else {
      add_model("distill.teacher", teacher, inputs);
    }
  }
  R copy = recipe;  // the field lists take mutable sections
  sections([&](const char* name, auto& section) { fields(InputLister(name, inputs), section); }, copy);
  return inputs;
}

#define PRENTICE_LISTS(R) template std::vector<InputPath> inputs_of<R>(const R&, const Artifact&);
PRENTICE_MODEL_KINDS(PRENTICE_LISTS)
PRENTICE_LISTS(CompareRecipe)
PRENTICE_LISTS(VerifyRecipe)
#undef PRENTICE_LISTS

}  // namespace prentice
