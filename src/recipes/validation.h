// Scores the model on the held-out rows while it trains, and once more at the end.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "config/schema.h"
#include "eval/score.h"
#include "recipes/prepare.h"

namespace prentice {

class Validation {
 public:
  // All arguments but the sections must outlive it. Without held-out rows it scores nothing.
  Validation(const Model& model, const PreparedRun& run, EvalSection section, int64_t micro_tokens);

  bool has_data() const { return run_.data.eval.has_value(); }
  // Cut short by a stop signal, when it is worth nothing: ask stop_signal().
  EvalReport score() const;

  // Keeps the answers of its first call, before training, in `out`/examples_before.jsonl. Gives
  // {"eval.loss", and "eval.accuracy" where a task gives one}; empty without held-out rows.
  std::function<std::map<std::string, double>()> hook(const std::filesystem::path& out) const;

 private:
  const Model& model_;
  const PreparedRun& run_;
  EvalSection section_;
  int64_t micro_tokens_;
  std::vector<std::string> choices_;
  std::vector<int32_t> stop_ids_;
};

}  // namespace prentice
