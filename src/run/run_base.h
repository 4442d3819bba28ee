// A run is its adapter on the base that it was trained on: whether that base is still the same.
#pragma once

#include <filesystem>

namespace prentice {

// Compares the hash of `base` (a GGUF file, or the plain files of a folder; from the cache of hashes where nothing has
// changed) with what run.json of `run`, or of a stopped one its newest checkpoint, says was trained on; a run that says
// nothing is believed. `adapter` is what was asked for of it, for the hint. Errors: `model`.
void require_same_base(const std::filesystem::path& run, const std::filesystem::path& base,
                       const std::filesystem::path& adapter);

}  // namespace prentice
