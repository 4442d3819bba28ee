// Everything a recipe reads, for the hashes in run.json: what decides whether a run is still the same run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "artifact/artifact.h"
#include "config/kinds.h"
#include "run/input_hashes.h"

namespace prentice {

// The files and folders that the keys of a recipe name (data files, data.template, adapter.init, eval.choices, ...),
// and the folders its model comes from. Words that are no paths, and what is embedded in the program, are left out.
template <class R>
std::vector<InputPath> inputs_of(const R& recipe, const Artifact& artifact);

}  // namespace prentice
