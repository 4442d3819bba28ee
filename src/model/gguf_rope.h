// What a rotary scaling is in a GGUF file beside its keys: tensors of factors; and back.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "io/gguf.h"
#include "model/spec.h"

namespace prentice {

// Divisors of the rotary frequencies that make llama3 scaling, [rotary_dim / 2]; empty for every other kind.
std::vector<float> rope_divisors(const RopeSpec& rope);
// The tensors, by name, that hold what a scaling's keys cannot: llama3's divisors, longrope's two lists.
std::vector<std::pair<std::string, std::vector<float>>> rope_factors(const RopeSpec& rope);

// The `rope_scaling` that a file's keys and tensors stand for, as config.json has it; null = none. Divisors are
// llama3's where some of its numbers make them, else they stand as they are. Errors: `malformed`.
Json rope_scaling_of(const GgufReader&, const std::string& architecture, double theta, int64_t rotary_dim);

}  // namespace prentice
