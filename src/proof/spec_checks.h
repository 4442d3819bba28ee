// Whether two specs compute the same: what a file's own metadata say, against the model it was made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/gguf.h"
#include "model/spec.h"
#include "proof/check.h"

namespace prentice {

// Sizes, norms, attention, rotation, windows, context: a check each, the first difference named. `as_gguf`: as
// llama.cpp computes it, which ignores the windows of some architectures.
std::vector<Check> spec_checks(const ModelSpec& wanted, const ModelSpec& found, bool as_gguf);

// All ids that end an answer of the file end one of the model, and there is one where the model has one.
Check stops_check(const std::vector<int32_t>& wanted, const std::vector<int32_t>& found);

// Of a file whose spec has been read: a key of its architecture that this did not ask for may change what a server
// computes.
Check unread_check(const GgufReader&, const std::string& architecture);

}  // namespace prentice
