#include "config/teach_rules.h"

#include <fmt/format.h>

namespace prentice {

namespace {

void check_sampling(Checker& c, const TeachRecipe& recipe) {
  const SampleSection& sample = recipe.teach.sample;
  c.without_effect({"teach.top_k", "teach.tail", "teach.values"}, "with teach.sample, which writes answers");
  c.without_effect({"data.train_on", "data.max_length", "data.overlong", "data.eos", "data.packing"},
                   "with teach.sample, which reads the prompts alone");
  if (sample.temperature == 0 && sample.n > 1)
    c.mistake("teach.sample", "n: every answer is the same at temperature 0", "n: 1, or a temperature above 0");
  if (sample.temperature == 0 && sample.top_p != 1)
    c.mistake("teach.sample", "top_p: has no effect at temperature 0", "remove the key");
  if (sample.agree > sample.n)
    c.mistake("teach.sample", fmt::format("agree: {} of {} answers cannot be the same", sample.agree, sample.n));
  if (sample.min_tokens > sample.max_new_tokens)
    c.mistake("teach.sample", fmt::format("min_tokens: {} is above max_new_tokens, {}: every answer would be dropped",
                                          sample.min_tokens, sample.max_new_tokens));
  if (recipe.data.format == DataFormat::text)
    c.mistake("data.format", "text rows have no prompt to answer", "teach.sample takes conversations or prompts");
}

}  // namespace

void check_teach(Checker& c, const TeachRecipe& recipe) {
  for (const auto& file : recipe.data.train) {
    if (file.weight != 1) c.mistake("data.train", "a weight has no effect: every row is taught once", "remove it");
  }
  if (recipe.teach.sample.n > 0) {
    check_sampling(c, recipe);
  } else if (recipe.changed.contains("teach.sample")) {
    c.mistake("teach.sample", "n is missing: how many answers to each prompt", "for instance teach.sample.n=4");
  }
}

}  // namespace prentice
