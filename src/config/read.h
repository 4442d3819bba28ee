// From a recipe file and command-line words to a checked recipe struct, and back to YAML.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "config/kinds.h"
#include "config/node.h"

namespace prentice {

class RecipeMistakes;

// The file, laid over what it `extends`, with `overrides` ("section.key=value", for a pipeline also
// "STEP:section.key=value") laid over it. Errors: `usage`.
Node read_recipe_file(const std::string& file, const std::vector<std::string>& overrides = {});
// A recipe that is only command-line words.
Node recipe_from_words(const std::string& kind, const std::vector<std::string>& overrides);
// Lays one word over `recipe`. Errors: `usage`.
void apply_override(Node& recipe, std::string_view word);
bool is_override(std::string_view word);  // section.key=..., or STEP:section.key=...

// The word after `recipe:`. Errors: `usage` when it is missing, unknown or not in this version.
std::string recipe_kind(const Node& recipe);

struct ReadOptions {
  std::vector<std::filesystem::path> promised;  // folders that an earlier pipeline step will make
  bool check_paths = true;                      // inputs must exist
  bool in_pipeline = false;                     // ${steps.NAME.out} has been looked at
};

// Binds, resolves the kind's defaults and checks combinations. All paths come out absolute. Errors: `usage`, all
// mistakes at once, in file order. R: the structs of config/kinds.h.
template <class R>
R read_recipe(const Node& recipe, const ReadOptions& options = {});

// The same, but what is wrong is added to `mistakes`; a key that is wrong keeps its default.
template <class R>
R bind_recipe(const Node& recipe, const ReadOptions& options, RecipeMistakes& mistakes);

// The words of whatever kind the node names; a pipeline's steps too. Returns the warnings.
std::vector<std::string> check_words(const Node& recipe, const ReadOptions& options, RecipeMistakes& mistakes);
// Errors: `usage`, all at once. What takes more than the recipe to see is recipes/validate.h's.
std::vector<std::string> check_words(const Node& recipe, const ReadOptions& options = {});

// Every key with its value, `auto` where still undecided; read_recipe(to_node(r)) gives r again.
template <class R>
Node to_node(const R& recipe);

// A pipeline's step, ready to run as a recipe of its own.
struct ExpandedStep {
  std::string name;
  std::string kind;
  std::string file;           // the step's recipe file
  Node recipe;                // with the step's overrides, ${steps.NAME.out} replaced
  std::filesystem::path out;  // absolute run.out; default: the pipeline's run.out / the step's name
};
// run.seed, device, precision, deterministic and threads that the pipeline itself gives hold for each step that does
// not set them. Errors: `usage`, all at once.
std::vector<ExpandedStep> expand_steps(const Node& pipeline);

}  // namespace prentice
