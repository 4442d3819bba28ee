// What every training program does around its objective: a recipe becomes a run that is ready for its first step, and
// the run passes through the loop to its end.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "config/invocation.h"
#include "job/prepared_run.h"
#include "job/validation.h"
#include "model/model.h"
#include "run/run_folder.h"

namespace prentice {

struct Training {
  RunFolder folder;
  PreparedRun run;
  std::string resolved;    // the recipe as text, nothing undecided
  Model model;             // with its adapter
  NamedTensors weights;    // those that train
  ForwardOptions forward;  // of the passes that train; the loop sets `step`
};

// Opens the model, locks and begins the run folder, encodes the data, prints the plan and loads the weights. Null when
// a finished run of this recipe is there. Errors: whatever can be wrong with a recipe, before the folder is made;
// `memory` for a plan that does not fit.
template <class Recipe>  // a kind that trains
std::unique_ptr<Training> start_training(Recipe& recipe, const Invocation& invocation);

// Trains and hands over. `see_step`, if there, sees each step before its first share and may change it. Returns the
// exit status (9 when eval.require is missed).
template <class Recipe>
int finish_training(Training& training, const Recipe& recipe, const Objective& objective, const Validation& validation,
                    const Invocation& invocation, std::function<void(Step&)> see_step = {});

}  // namespace prentice
