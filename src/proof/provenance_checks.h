// `verify --provenance`: what a file says of where it comes from (run/origin.h), against the run that wrote it and
// against the files that this run read.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "proof/check.h"

namespace prentice {

// `artifact`: a GGUF file or a folder of safetensors, below the folder of its run; of a copy elsewhere, the run that
// `model` (an adapter or weights of verify.model) lies in is asked. One check for each thing that it says, and for each
// input whether it still has that hash; what it says of its verification must stand in the run's verify.json. What
// cannot be looked at fails. Errors: `model` for a file that cannot be read.
std::vector<Check> provenance_checks(const std::filesystem::path& artifact, const std::filesystem::path& model);

// Whether a failed check, by its name or by the line of verify.json that names it, is one of these.
bool is_of_origin(std::string_view reason);

}  // namespace prentice
