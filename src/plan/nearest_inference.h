// The nearest recipe that fits of a run that trains nothing. Separate from plan/nearest_fit.h because such a run has
// few changes to make, all of which are tried, and a plan that each kind makes in its own way.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "artifact/artifact.h"
#include "config/kinds.h"
#include "plan/plan.h"

namespace prentice {

// What the plan of such a run follows from, as far as changes reach it.
struct Inference {
  StepShape shape;
  Hardware hardware;
  bool verify = true;  // export.verify
};
using PlanInference = std::function<Plan(const Inference&)>;

struct Change {
  std::vector<std::string> words;  // key=value, to be appended to the command
  std::function<void(Inference&)> make;
};

struct InferenceChanges {
  std::vector<Change> all;      // from the least to the most that they change; any of them go together
  std::vector<Change> shorter;  // rows, ever more so: one of these, where all of the others are not enough
};

// What a recipe leaves to change of how its weights are held, of its proof and of where it runs. `artifact`: its model;
// nullptr: there are several. R: a kind that trains nothing.
template <class R>
InferenceChanges changes_left(const R& recipe, const Inference&, const Artifact* artifact);

// Gives a plan that does not fit the fewest changes that do, those that change most left out first; or what is in the
// way.
void name_nearest(Plan&, const Inference&, const InferenceChanges&, const PlanInference&);

}  // namespace prentice
