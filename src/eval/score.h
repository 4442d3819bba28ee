// Scores a model on examples: loss, choice, exact. Everything a task reads comes in one struct, everything it finds
// leaves in an EvalReport.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "config/schema.h"
#include "data/data_set.h"
#include "eval/report.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace prentice {

// Tokens of a forward pass that scores, where nobody trains beside it.
inline constexpr int64_t kEvalMicroTokens = 4096;

struct EvalInput {
  const Model& model;
  const Tokenizer& tokenizer;
  const DataSet& data;  // made with EncodeOptions::for_evaluation
  const EvalSection& section;
  std::vector<std::string> choices;  // of `choice`; a record's own `choices` go before them
  std::vector<int32_t> stop_ids;     // of `exact`
  int64_t micro_tokens = kEvalMicroTokens;
  int threads = 1;                                                                          // of the tokenizer
  std::function<void(const std::string& task, int64_t done, int64_t total)> progress = {};  // examples, may be empty
  std::function<bool()> stop = {};  // asked between batches; once true, the report that comes back is worth nothing

  bool stopped() const { return stop && stop(); }
};

// Runs section.tasks on the first section.limit examples (0 = all) and checks section.require. Adapters count as they
// are; no gradients. Errors: `usage` for an unknown task or metric, or for choices that nobody names; `data` for
// examples that a task cannot read; `numerical` for a score that is NaN.
EvalReport evaluate(const EvalInput&);

LossResult score_loss(const EvalInput&);
ExactResult score_exact(const EvalInput&);  // greedy; output and reference are compared without surrounding space

// The files that the examples evaluate() scores come from, in order of their first row.
std::vector<ScoredFile> scored_files(const DataSet& data, const EvalSection& section);

// Number of examples that section.limit leaves.
int64_t example_count(const EvalInput&);

}  // namespace prentice
