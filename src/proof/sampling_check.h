// What a GGUF file tells llama.cpp to sample with (general.sampling.*), which llama-server and llama-cli do where
// nobody asks for something else: a model that answers well at a temperature of 0.7 answers nothing at one of 5.
#pragma once

#include <filesystem>

#include "io/gguf.h"
#include "proof/check.h"

namespace prentice {

// "sampling": whether each such value is that of the model, changes nothing, or is what transformers takes where
// generation_config.json is silent. `model`: the model's folder or GGUF file. Errors: `model`, naming the file, for a
// generation_config.json that is no object.
Check sampling_check(const GgufReader&, const std::filesystem::path& model);

}  // namespace prentice
