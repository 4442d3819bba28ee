// From an opened artifact to its scores on rows: what `eval` does once and `compare` twice.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "artifact/open.h"
#include "config/invocation.h"
#include "data/data_set.h"
#include "eval/report.h"

namespace prentice {

using ScoringProgress = std::function<void(const std::string& task, int64_t done, int64_t total)>;

// A line on the terminal that begins with `before`; stops where a signal asks for it.
ScoringProgress scoring_progress(const Invocation&, const std::string& before = "");

// data.eval as the model reads it: pairs for a reward model, else examples. Errors: those of load_data_set.
DataSet load_rows_to_score(const Opened&, const DataSection&);

// What a recipe that scores says.
struct ScoredSections {
  const RunSection& run;
  const DataSection& data;
  const EvalSection& eval;
};

// Loads the weights and lets them go again; `before_release` sees them scored. Errors: those of load_weights and
// evaluate.
EvalReport score_rows(const Opened&, const DataSet&, const ScoredSections&, const ScoringProgress&,
                      const std::function<void(const Model&)>& before_release = {});

}  // namespace prentice
