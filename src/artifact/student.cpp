#include "artifact/student.h"

#include "artifact/score_head.h"
#include "config/adapter_rules.h"
#include "export/gguf_model.h"

namespace prentice {

namespace {

// Makes of an opened model the one that a reward run trains: its spec with a score head, and `score` among what a fresh
// adapter stores whole, as in PEFT. Returns whether the head is new, because the model has none.
bool take_score_head(Opened& opened, AdapterSection& adapter) {
  const bool is_new = opened.spec.labels == 0;
  opened.spec = with_score_head(std::move(opened.spec));
  store_head_whole(opened.spec, adapter);
  return is_new;
}

}  // namespace

ServedTypes served_by(const AdapterSection& adapter, const ExportSection& exports, const ModelSpec& spec) {
  if (adapter.kind == AdapterKind::full || !trains_rounded(adapter)) return {};
  return served_types(spec, file_type_named(adapter.qat), exports.types);
}

template <class Recipe>
Student make_student(const Recipe& recipe, Opened opened) {
  AdapterSection adapter = adapter_of(recipe);
  bool new_head = false;
  if constexpr (std::is_same_v<Recipe, RewardRecipe>) new_head = take_score_head(opened, adapter);
  NewTokens new_tokens = take_new_tokens(recipe.model, opened, adapter);
  if (new_head) opened.spec = with_padding(opened.spec, opened.tokenizer);
  ServedTypes served = served_by(adapter, recipe.exports, opened.spec);
  return {.opened = std::move(opened),
          .adapter = std::move(adapter),
          .new_tokens = std::move(new_tokens),
          .served = std::move(served)};
}

#define PRENTICE_STUDENTS(R) template Student make_student<R>(const R&, Opened);
PRENTICE_TRAINING_KINDS(PRENTICE_STUDENTS)
#undef PRENTICE_STUDENTS

}  // namespace prentice
