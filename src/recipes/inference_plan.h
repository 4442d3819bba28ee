// Plans of the kinds that train nothing and read no data before they are planned.
#pragma once

#include "config/kinds.h"
#include "plan/plan.h"
#include "recipes/promises.h"

namespace prentice {

// An export and an evaluation hold one model; a plan of theirs is its size. R: EvalRecipe, ExportRecipe,
// GenerateRecipe. Errors, of all: those of opening what is there.
template <class R>
Plan inference_plan(R, const PromisedStep&);

// One model after the other is held, the second beside what is kept of the first: the plan of the larger.
Plan comparison_plan(CompareRecipe, const PromisedStep&);

// Two forward passes, a layer at a time, and every tensor read.
Plan verification_plan(VerifyRecipe);

}  // namespace prentice
