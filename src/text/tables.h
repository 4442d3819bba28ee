// What an exporter carries over (TokenizerTables) from a tokenizer.json; the SentencePiece side makes its own.
#pragma once

#include "io/json.h"
#include "text/tokenizer.h"

namespace prentice {

// `json` is a whole tokenizer.json, `added` the added tokens as the crate numbers them. Errors: `malformed`.
//
// SentencePiece-like means byte fallback, or spaces written as U+2581 without a byte-level alphabet. Such a file has
// merges but no scores, and llama.cpp's SPM tokenizer joins the neighbours whose joined piece has the highest score. A
// BPE joins by rank, so a piece gets minus the lowest rank of the merges that produce it: then both join in the same
// order (the ranks of one piece's merges are neighbours in files made from a SentencePiece model, because they are
// sorted by that piece's own score). Pieces that no merge produces are never the result of a join; they get a score
// below all others.
TokenizerTables tables_of_json(const Json& json, const std::vector<AddedToken>& added);

// The type llama.cpp gives to an added token: control if special or written like a marker, else user defined.
TokenType added_token_type(std::string_view content, bool special);

bool is_byte_piece(std::string_view piece);  // <0x00> to <0xFF>

}  // namespace prentice
