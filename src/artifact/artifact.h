// Artifact addresses: every place that names a model resolves it here (a folder, a GGUF file, a run, a checkpoint,
// BASE+ADAPTER, a name in the Hugging Face cache, a shape under configs/models).
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "config/schema.h"
#include "io/json.h"

namespace prentice {

// In a run folder: the chat template that the run trained with, where it is not the tokenizer's own.
inline constexpr const char* kRunTemplate = "chat_template.jinja";

struct Artifact {
  std::string address;                  // as the user wrote it
  std::filesystem::path base;           // Hugging Face folder or GGUF file; empty: only the shape is known
  std::string base_name;                // what an adapter calls its base: ORG/NAME from the hub, else the folder
  std::filesystem::path adapter;        // PEFT folder or checkpoint with an adapter; empty = none
  std::filesystem::path tokenizer;      // folder or GGUF file of tokenizer and template, the adapter's where it has one
  std::filesystem::path chat_template;  // what a run was trained with in place of its tokenizer's; empty = none
  std::string shape;                    // configs/models entry, for instance models/llama-3.1-8b.json
  std::string served_type;  // of a run with adapter.qat: the file type whose rounding it trained; else empty
  std::map<std::string, std::string> served_types;  // and that run's export.types
  std::string trained_in;                           // of an adapter in a run with model.quantize: that word
  bool has_weights() const { return !base.empty(); }
};

// Errors: `usage` when nothing of that name exists, with what was tried and `key`, the recipe's key that names it;
// `model` when it exists and is no model.
Artifact resolve_artifact(const std::string& address, std::string_view key = "model.path");

// The same with model.adapter and model.tokenizer applied.
Artifact resolve_model(const ModelSection&, std::string_view key = "model.path");

// Whether a folder holds a vocabulary: a model's always, an adapter's where it came with its own.
bool has_tokenizer(const std::filesystem::path& folder);

// config.json of the artifact, from its folder or from configs/models.
Json artifact_config(const Artifact&);

}  // namespace prentice
