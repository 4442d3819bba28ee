// The tokens at which llama.cpp ends a generation, as it finds them in a GGUF file: by keys, and by how they are
// spelled.
#pragma once

#include <array>
#include <string_view>

namespace prentice {

// tokenizer.ggml.NAME_token_id: beside "eos", "eot" and "eom", of tokens that fill the middle of a text.
inline constexpr std::array<const char*, 3> kFillEndKeys = {"fim_pad", "fim_rep", "fim_sep"};

// Whether llama.cpp takes a token that is spelled so for an end, whatever the file says of it.
bool ends_by_spelling(std::string_view token);

}  // namespace prentice
