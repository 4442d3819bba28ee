#include "config/verify_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/address.h"
#include "config/words.h"

namespace prentice {

namespace {

// Keys that say how rows are read have no rows to read.
void check_rows(Checker& c, const VerifyRecipe& recipe) {
  if (!recipe.data.eval.empty()) return;
  if (c.has("data.eval")) c.mistake("data.eval", "expected at least one file, got an empty list");
  c.without_effect({"data.format", "data.fields", "data.limit", "data.lines", "data.system", "data.prompt",
                    "data.completion", "data.chat", "data.template", "data.template_args", "data.train_on",
                    "data.max_length", "data.overlong", "data.eos"},
                   "without data.eval, the rows to verify on", "give data.eval, or remove the key");
}

}  // namespace

void check_limits(Checker& c, std::string_view key, const std::map<std::string, LogitLimits>& limits) {
  std::vector<std::string> words;
  for (const auto& choice : kLimited) words.emplace_back(choice.word);
  for (const auto& [type, bounds] : limits) {
    if (std::ranges::count(words, type) > 0) continue;
    const std::string near = closest_match(type, words);
    c.mistake({.key = std::string(key),
               .word = type,
               .message = fmt::format("'{}' is no type of a file", type),
               .hint = near.empty() ? "types: " + choices_text(kLimited) : "did you mean " + near + "?"});
  }
}

void check_verify(Checker& c, const VerifyRecipe& recipe) {
  const VerifySection& verify = recipe.verify;
  if (verify.model.empty()) c.mistake("verify.model", "is missing: what was trained", "verify.model=runs/NAME");
  if (verify.artifact.empty()) {
    c.mistake("verify.artifact", "is missing: the file that is to be the same",
              "verify.artifact=runs/NAME/gguf/NAME-Q4_K_M.gguf, a merged folder, or an adapter");
  }
  if (!verify.model.empty() && verify.model == verify.artifact) {
    c.mistake("verify.artifact", "is the model itself, which is always equal to itself");
  }
  check_limits(c, "verify.limits", verify.limits);
  check_rows(c, recipe);
}

}  // namespace prentice
