// What the two tokenizer libraries have in common. Separate so that Tokenizer knows neither of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace prentice {

// Ids that a vocabulary itself gives a role.
struct OwnSpecials {
  std::optional<int32_t> bos, eos, pad, unk;
};

class TokenizerBackend {
 public:
  virtual ~TokenizerBackend() = default;
  // One encoding a text, in order; `offsets` stay empty unless asked for. Errors: `data` (a text is not UTF-8).
  virtual std::vector<Encoding> encode(std::span<const std::string_view> texts, bool add_special, bool offsets,
                                       int threads) const = 0;
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special) const = 0;
  virtual int64_t vocab_size() const = 0;  // highest id + 1
  virtual std::optional<int32_t> token_to_id(std::string_view token) const = 0;
  virtual std::optional<std::string> id_to_token(int32_t id) const = 0;
  virtual const std::vector<AddedToken>& added_tokens() const = 0;  // by id
  virtual OwnSpecials own_specials() const { return {}; }
  virtual TokenizerTables tables() const = 0;
};

}  // namespace prentice
