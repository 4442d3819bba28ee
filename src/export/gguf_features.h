// Whether llama.cpp computes what a model computes: the model's features against those of its GGUF architecture.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/spec.h"

namespace prentice {

// Refuses what llama.cpp would load and compute differently. Errors: `model`, with the reason.
void check_gguf_can_express(const ModelSpec& spec);

// What llama.cpp computes differently in some uses, one sentence each.
std::vector<std::string> gguf_warnings(const ModelSpec& spec);

// The longest context in which llama.cpp computes what the model does.
int64_t gguf_context(const ModelSpec& spec);

// Whether llama.cpp applies the windows of this architecture, and how wide they are (0: no layer has one).
bool obeys_windows(const ModelSpec& spec);
int64_t widest_window(const ModelSpec& spec);

// Index into spec.ropes of the layers that see everything: the rotation that scaling keys describe.
size_t global_rope(const ModelSpec& spec);

}  // namespace prentice
