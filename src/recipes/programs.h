// The programs behind the verbs that do work: one per recipe kind, dispatched by the recipe's first key.
#pragma once

#include <filesystem>
#include <vector>

#include "config/invocation.h"
#include "config/kinds.h"

namespace prentice {

// Each returns the exit status (0, or 9 for a gate) and throws Error or Stopped otherwise.
int run_recipe(const Invocation&);    // whatever kind invocation.kind names
int plan_recipe(const Invocation&);   // checks and arithmetic, no weights
int audit_recipe(const Invocation&);  // the first training rows as the model will see them
// What audit_recipe would refuse a recipe that trains for; with_model false: as far as its words and rows show it.
// Empty: nothing.
std::vector<Diagnostic> audit_mistakes(const Node& recipe, bool with_model);
// Runs on what `folder` holds. Errors: `usage` when it holds no run, `model` when no checkpoint is usable.
int resume_run(const std::filesystem::path& folder, const Invocation&);

#define PRENTICE_RUNS(R) int run_program(R, const Invocation&);
PRENTICE_KINDS(PRENTICE_RUNS)
#undef PRENTICE_RUNS

}  // namespace prentice
