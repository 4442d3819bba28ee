// Where the files of a run come from, as texts that go into their own metadata: hashes of what decided them, and
// nothing that differs between two runs of the same things (no path, time or host).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "run/input_hashes.h"

namespace prentice {

// By metadata key. SHA-256 in hex:
//   prentice.recipe      every value of the resolved recipe that decides the result; an input's path counts as what is
//                        there
//   prentice.program     the program that wrote the file
//   prentice.input.KEY   what the recipe key read: model.path, data.train[0]
using FileOrigin = std::map<std::string, std::string>;

inline constexpr const char* kOriginRecipe = "prentice.recipe";
inline constexpr const char* kOriginProgram = "prentice.program";
inline constexpr const char* kOriginInput = "prentice.input.";
// Whether the file was checked before it was handed over, and how that ended (io/stamp.h); not part of a FileOrigin.
inline constexpr const char* kOriginVerification = "prentice.verification";

// `recipe`: resolved text; `inputs`: all that it reads.
FileOrigin origin_of(const std::string& recipe, const std::vector<InputHash>& inputs);

}  // namespace prentice
