// tokenizer.model through SentencePiece, with the layers Hugging Face puts on top: added tokens are split off first,
// BOS and EOS by tokenizer_config.json. sentence_piece.cpp is the only file that sees the library.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "text/backend.h"

namespace prentice {

struct SentencePieceLayers {
  std::vector<AddedToken> added;  // id -1: the model's own piece of that text, left out if it has none
  // Written before and after when add_special is asked for; nullopt: none, "": the piece the model itself names.
  std::optional<std::string> bos = "", eos = "";
  bool add_bos = true, add_eos = false;
  // true: each segment after an added token gets the dummy space in front (Llama's first behaviour, and llama.cpp's);
  // false: only the beginning of the text.
  bool legacy = true;
};

// `model` holds the bytes of a tokenizer.model. Errors: `malformed`.
std::unique_ptr<TokenizerBackend> open_sentence_piece(std::string_view model, const SentencePieceLayers& layers);

}  // namespace prentice
