// A model's shape from a GGUF file: what its metadata and tensors say, put as the config.json of the family that the
// architecture belongs to, which then is read like any other.
#pragma once

#include <filesystem>

#include "io/gguf.h"
#include "model/spec.h"

namespace prentice {

// Errors: `model` for an architecture, key or tensor type that is not supported, by name.
ModelSpec read_gguf_spec(const std::filesystem::path& file);
ModelSpec read_gguf_spec(const GgufReader&);

// The config.json that such a file stands for.
Json gguf_config(const GgufReader&);

}  // namespace prentice
