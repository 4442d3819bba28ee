// The file names of a Hugging Face model folder, beside what its weights are called in safetensors.h: what goes along
// with a model when it is fetched or exported, and what is refused because it can run code.
#pragma once

#include <string_view>

namespace prentice {

// Tokenizer, templates, generation settings and licences: copied byte for byte wherever the weights go.
bool is_companion_file(std::string_view name);

// Of these, what belongs to the tokenizer and its template; the others are the model's.
bool is_tokenizer_file(std::string_view name);

// Of these, what others may do with the model: LICENSE, NOTICE, USE_POLICY.md and their like, in any case.
bool is_licence_file(std::string_view name);

// Weights as a pickle (.bin, .pt, .pth, .ckpt); files of that ending that hold none (tokenizer.*, training_args.bin)
// do not count.
bool is_pickled_weights(std::string_view name);

inline constexpr const char* kPickleWarning = " is a pickle, which can run code when it is read";
inline constexpr const char* kPickleHint =
    "convert it once in Python: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR, "
    "safe_serialization=True)";

}  // namespace prentice
