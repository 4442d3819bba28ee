// How a person tries a model at once, with this program.
#pragma once

#include <filesystem>
#include <string>

#include "model/spec.h"
#include "text/tokenizer.h"

namespace prentice {

// The words behind `prentice` that a person tries the model at `address` with.
std::string asking_words(const ModelSpec&, const Tokenizer&, const std::filesystem::path& address);

}  // namespace prentice
