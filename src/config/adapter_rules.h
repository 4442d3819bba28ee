// What an adapter section contradicts in itself, whatever the model: the one place of these rules, for the reader of
// recipes, which points at the lines, and for src/adapter, which is also called without a recipe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"

namespace prentice {

// What is wrong with a key. `word`: the part of its value that is at fault (an item of a list, a key of a map); "" for
// all of it.
struct KeyMistake {
  std::string key, word, message, hint;
};

// Whether adapter.init is one of its words, and not the path of an adapter to go on from, which brings its own rank,
// targets and kind.
bool starts_fresh(const AdapterSection&);

std::vector<KeyMistake> contradictions(const AdapterSection&);

// Whether a run trains against the rounding of a GGUF file. What says of a thing that it cannot be then begins with it.
bool trains_rounded(const AdapterSection&);
inline constexpr std::string_view kNotWithQat = "adapter.qat does not train in this version";

// Why an adapter of this kind cannot be written as a GGUF adapter, and what can: llama.cpp's files have no place for
// magnitudes and whole modules. Empty: it can. `dora` and `saved` of the section, or of the adapter itself.
std::vector<KeyMistake> gguf_adapter_mistakes(bool dora, const std::vector<std::string>& saved);

// Errors: `usage` with all of them. Nothing happens when there are none.
void throw_if_any(const std::vector<KeyMistake>&);

}  // namespace prentice
