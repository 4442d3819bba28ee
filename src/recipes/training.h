// What every training program does around its objective: begins the run folder, tells what is about to happen, and
// translates a recipe into what the loop is told.
#pragma once

#include <string>

#include "config/invocation.h"
#include "recipes/prepare.h"
#include "run/run_folder.h"
#include "train/loop.h"

namespace prentice {

// Begins the folder with what the run is (`resolved`: the recipe as text) and, unless a finished run is found there,
// refuses a plan that does not fit, keeps the run's own chat template and prints the plan. Errors: also `memory`.
template <class Recipe>
RunState begin_training(RunFolder& folder, const Recipe& recipe, const PreparedRun& run, const std::string& resolved,
                        const Invocation& invocation);

template <class Recipe>
TrainConfig train_config(const Recipe& recipe, const PreparedRun& run, const RunFolder& folder,
                         const std::string& resolved, bool quiet);

}  // namespace prentice
