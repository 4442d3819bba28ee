// Finds added tokens in a text before the rest is tokenized. The crate does this itself; SentencePiece does not.
#pragma once

#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/tokenizer.h"

namespace prentice {

class AddedTokenSplitter {
 public:
  explicit AddedTokenSplitter(const std::vector<AddedToken>& tokens);

  struct Piece {
    ByteSpan bytes;   // an added token that takes the white space beside it has that in its span
    int32_t id = -1;  // -1: ordinary text
  };
  // Leftmost, longest matches; empty ordinary pieces are left out.
  std::vector<Piece> split(std::string_view text) const;

 private:
  const AddedToken* longest_at(std::string_view text, size_t at) const;
  std::vector<AddedToken> by_first_byte_[256];  // longest first
};

}  // namespace prentice
