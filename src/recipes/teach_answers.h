// The other half of the kind `teach`: with teach.sample, the teacher's own answers as a data set.
#pragma once

#include "artifact/open.h"
#include "config/invocation.h"
#include "config/kinds.h"
#include "plan/plan.h"

namespace prentice {

Plan plan_answers(TeachRecipe&, const Opened&, const Hardware&);
int teach_answers(TeachRecipe, const Invocation&);  // returns the exit status

}  // namespace prentice
