// The plan of a training run: what its data, its steps and its second model make of the plan's figures.
#pragma once

#include "config/kinds.h"
#include "job/prepared_run.h"

namespace prentice {

// Of a run whose data, steps and micro-batch are decided (job/prepare.h).
template <class Recipe>  // a kind that trains
Plan make_plan(const Recipe&, const PreparedRun&, StepShape, const Hardware&);

}  // namespace prentice
