// The vocabulary that a GGUF file's metadata hold, whoever wrote them, against a model's tokenizer.
#pragma once

#include <cstdint>
#include <vector>

#include "export/gguf_metadata.h"
#include "proof/check.h"

namespace prentice {

// "kind of tokenizer", "token list", "token types", "merges" or "scores", "pre-tokenizer", "special ids", "ends",
// "middles", "named templates". `stop_ids`: of which the file's end token must be one, and all that llama.cpp ends at
// but what is spelled so. Errors: `model` for metadata that no tokenizer can be made of; those of gguf_metadata.
std::vector<Check> vocabulary_checks(const GgufReader&, const ModelSpec&, const Tokenizer&, const GgufOptions&,
                                     const std::vector<int32_t>& stop_ids);

}  // namespace prentice
