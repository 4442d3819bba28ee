// From a training recipe to everything that is known before weights load: the encoded data, the steps, the plan; every
// `auto` of the recipe is decided here and frozen.
#pragma once

#include "config/kinds.h"
#include "job/prepared_run.h"

namespace prentice {

// The models of a recipe for `machine`: all that can be refused before a folder is made or data is read. Errors: those
// of open_recipe, make_student and open_teacher.
template <class Recipe>  // a kind that trains
OpenedRun open_run(const Recipe& recipe, const Machine& machine, RunUse use);

// The rest of what open_run gave, for a machine of this hardware. Errors: whatever can be wrong with a recipe's data
// and what needs it.
template <class Recipe>
PreparedRun prepare_run(Recipe& recipe, OpenedRun opened, const Hardware& hardware);

}  // namespace prentice
