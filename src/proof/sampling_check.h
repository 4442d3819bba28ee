// What an artifact tells others to sample with, which they do where nobody asks for something else: a GGUF file
// (general.sampling.*) llama-server and llama-cli, a folder (generation_config.json) vLLM and transformers. A model
// that answers well at a temperature of 0.7 answers nothing at one of 5, nor where tokens are suppressed or forced.
#pragma once

#include <filesystem>

#include "io/gguf.h"
#include "proof/check.h"

namespace prentice {

// "sampling": whether each such value is that of the model, changes nothing, or is what transformers takes where
// generation_config.json is silent; a model may say in config.json what its generation_config.json does not. `model`:
// the model's folder or GGUF file. Errors: `model`, naming the file, for a generation_config.json that is no object; of
// the artifact's, UnreadableArtifact (proof/artifact_reading.h).
Check sampling_check(const GgufReader&, const std::filesystem::path& model);
Check sampling_check(const std::filesystem::path& folder, const std::filesystem::path& model);

}  // namespace prentice
