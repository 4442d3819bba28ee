// `repro diff` and `repro run`: where two runs part, and whether a run gives its bytes again.
#pragma once

#include <filesystem>
#include <string>

#include "config/invocation.h"

namespace prentice {

// The first step, then the first tensor, where two run folders part. Returns 0 when they agree, 9 when not.
int repro_diff(const std::filesystem::path& a, const std::filesystem::path& b, const Invocation& invocation);

// Checks the hashes of the run's inputs, runs its recipe.yaml again in `out` (default: DIR.repro) and compares the
// bytes of metrics, checkpoints and products. Returns 0, or 9 when anything differs. Errors: `usage` for inputs that
// are gone or have changed.
int repro_run(const std::filesystem::path& run, const std::filesystem::path& out, const Invocation& invocation);

}  // namespace prentice
