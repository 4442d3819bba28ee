// Special tokens that a recipe adds to a tokenizer: their ids, and the tokenizer's files with them, as transformers'
// add_special_tokens and save_pretrained give both. Separate from loading because only training adds tokens.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace prentice {

struct TokenAdditions {
  std::vector<AddedToken> tokens;          // what the tokenizer must be loaded with
  std::vector<int32_t> new_ids;            // of those that are new, from the tokenizer's vocab_size() on
  std::vector<std::string> in_vocabulary;  // texts that had an id before, and keep it
};

// Every text becomes a special token: nothing around it is swallowed, and it is matched before any normalization. An
// added token of the tokenizer stays as it is; an ordinary piece becomes special at its own id.
TokenAdditions additions_to(const Tokenizer&, const std::vector<std::string>& texts);

// The files of tokenizer.folder() that its more_tokens() change, whole, by name: tokenizer.json, tokenizer_config.json,
// special_tokens_map.json and added_tokens.json where they are; without a tokenizer.json, added_tokens.json in any
// case. Empty when there are no such tokens. Errors: `model` for a file that is corrupt.
std::map<std::string, std::string> files_with_added_tokens(const Tokenizer&);

}  // namespace prentice
