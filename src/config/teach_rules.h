// What a recipe of kind teach contradicts in itself.
#pragma once

#include "config/checker.h"

namespace prentice {

void check_teach(Checker&, const TeachRecipe&);

}  // namespace prentice
