// The page about a training run, report.html: which figures, curves and tables it shows. How a page looks is
// pages/report.h's.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eval/score.h"
#include "job/prepared_run.h"
#include "pages/report.h"
#include "run/run_folder.h"
#include "train/loop.h"

namespace prentice {

// Of the folder it reads metrics.jsonl, the answers and the products, which must be there.
Report run_page(const PreparedRun&, const TrainResult&, const std::optional<EvalReport>& score, const RunFolder&);

// Each metric of a score with its value as text; none without a score.
std::vector<std::pair<std::string, std::string>> results_of(const std::optional<EvalReport>& score);

}  // namespace prentice
