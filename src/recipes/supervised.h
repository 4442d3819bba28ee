// The straight line that pretraining and supervised fine-tuning share: prepare, open, train, finish. They differ in
// what trains (every weight, or an adapter) and in their defaults.
#pragma once

#include "config/invocation.h"
#include "config/kinds.h"

namespace prentice {

template <class Recipe>  // PretrainRecipe or SftRecipe
int run_supervised(Recipe recipe, const Invocation& invocation);

}  // namespace prentice
