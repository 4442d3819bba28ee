// Proof of a GGUF adapter: the base with the file on it, read as llama.cpp reads it, against the base with the PEFT
// adapter that was trained.
#pragma once

#include <filesystem>
#include <vector>

#include "proof/verify_artifact.h"

namespace prentice {

struct TrainedAdapter {
  std::filesystem::path base;     // a Hugging Face folder or a GGUF file
  std::filesystem::path adapter;  // PEFT folder
  const ModelSpec& spec;
  const Tokenizer& tokenizer;
  std::vector<int32_t> stop_ids;
};

// The model that was trained, read from its files, which it holds; `trained_in`: four bits, where the base was rounded
// to them. Errors: those of the base and of PeftFolder.
WeightReader adapted_reader(const std::filesystem::path& base, const std::filesystem::path& adapter, const ModelSpec&,
                            Quantize trained_in = Quantize::none);

// Container, scale, tensor set, values, logits. A witness is asked where the base is a GGUF file.
// Errors: `model` for a container, or metadata, that cannot be read; those of the base and of PeftFolder.
Verification verify_adapter_artifact(const std::filesystem::path& file, const TrainedAdapter&, const ProofRules&);

// The base with a GGUF adapter on it, whose tensors must have the shapes that the base's ask for. The file must outlive
// the reader.
WeightReader with_gguf_adapter(const WeightReader& base, const GgufReader& file);

}  // namespace prentice
