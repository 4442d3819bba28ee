// What the base's makers ask of whoever serves it: files that go along with every product.
#pragma once

#include <map>
#include <string>

#include "artifact/artifact.h"

namespace prentice {

// The base's licence files by name (io/model_files.h); none where it is a GGUF file or a shape. Errors: `storage`.
std::map<std::string, std::string> licences_of(const Artifact&);

}  // namespace prentice
