// The programs behind the verbs that do work: one per recipe kind, dispatched by the recipe's first key.
#pragma once

#include <filesystem>

#include "config/invocation.h"
#include "config/kinds.h"

namespace prentice {

// Each returns the exit status (0, or 9 for a gate) and throws Error or Stopped otherwise.
int run_recipe(const Invocation&);    // whatever kind invocation.kind names
int plan_recipe(const Invocation&);   // checks and arithmetic, no weights
int audit_recipe(const Invocation&);  // the first training rows as the model will see them
// Runs on what `folder` holds. Errors: `usage` when it holds no run, `model` when no checkpoint is usable.
int resume_run(const std::filesystem::path& folder, const Invocation&);

#define PRENTICE_RUNS(R) int run_program(R, const Invocation&);
PRENTICE_KINDS(PRENTICE_RUNS)
#undef PRENTICE_RUNS

}  // namespace prentice
