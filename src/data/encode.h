// From files to encoded examples: reads the sources a data section names, detects the format, applies templates,
// tokenizes in parallel, marks what is trained and handles rows that are too long.
#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "config/kinds.h"
#include "data/data_set.h"
#include "text/tokenizer.h"

namespace prentice {

// What the objective of a kind reads of its rows.
template <class Recipe>
RowUse use_of(const Recipe& recipe) {
  if constexpr (std::is_same_v<Recipe, RewardRecipe>) return RowUse::pairs;
  if constexpr (requires { recipe.preference; }) {
    return recipe.preference.loss == PreferenceLoss::kto ? RowUse::labels : RowUse::pairs;
  }
  return RowUse::examples;
}

struct TrainEvalSets {
  DataSet train;
  std::optional<DataSet> eval;
  std::vector<std::string> overlap;  // "train.jsonl:12 = test.jsonl:3", exact duplicates of whole rows
};

// Reads data.train and data.eval (or splits by eval_split). Errors: `data`, each with file, line and reason; `usage`
// when a path does not exist. `options.for_evaluation` applies to the train side; the eval side always has it.
TrainEvalSets load_data(const DataSection&, const Tokenizer&, const EncodeOptions&, uint64_t seed);
// One side only, for the kinds that only evaluate.
DataSet load_data_set(const std::vector<WeightedFile>& files, const DataSection&, const Tokenizer&,
                      const EncodeOptions&);

}  // namespace prentice
