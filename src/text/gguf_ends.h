// The tokens at which llama.cpp ends a generation, and with which it has the middle of a text filled, as it finds them
// in a GGUF file: by keys, and by how they are spelled.
#pragma once

#include <array>
#include <string_view>

namespace prentice {

// tokenizer.ggml.NAME_token_id: beside "eos", "eot" and "eom", of tokens that fill the middle of a text.
inline constexpr std::array<const char*, 3> kFillEndKeys = {"fim_pad", "fim_rep", "fim_sep"};

// The tokens before, behind and after what the text is that llama-server's /infill sends.
struct FillPart {
  std::array<const char*, 2> keys;            // tokenizer.ggml.NAME_token_id; the second is what older writers call it
  std::array<std::string_view, 8> spellings;  // of the token that is taken where a file has no such key
};
inline constexpr std::array<FillPart, 3> kFillParts = {
    {{{"fim_pre", "prefix"},
      {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<\uff5cfim\u2581begin\uff5c>", "<PRE>", "\u2581<PRE>",
       "<|code_prefix|>", "<|prefix|>"}},
     {{"fim_suf", "suffix"},
      {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<\uff5cfim\u2581hole\uff5c>", "<SUF>", "\u2581<SUF>",
       "<|code_suffix|>", "<|suffix|>"}},
     {{"fim_mid", "middle"},
      {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<\uff5cfim\u2581end\uff5c>", "<MID>", "\u2581<MID>",
       "<|code_middle|>", "<|middle|>"}}}};

// Whether llama.cpp takes a token that is spelled so for an end, whatever the file says of it.
bool ends_by_spelling(std::string_view token);

}  // namespace prentice
