#include <algorithm>
#include <bit>
#include <cstring>

#include "core/error.h"
#include "text/gguf_vocabulary.h"
#include "text/tables.h"

namespace prentice {

namespace {

// The wire form of protocol buffers, as far as sentencepiece_model.proto needs it.
class Message {
 public:
  void number(uint32_t field, uint64_t value) {
    varint(uint64_t{field} << 3);
    varint(value);
  }
  void real(uint32_t field, float value) {
    varint((uint64_t{field} << 3) | 5);
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes_.push_back(static_cast<char>(bits >> shift));
  }
  void text(uint32_t field, std::string_view value) {
    varint((uint64_t{field} << 3) | 2);
    varint(value.size());
    bytes_ += value;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>((value & 0x7f) | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }
  std::string bytes_;
};

// SentencePiece spells what it lacks in bytes only where it has them all.
bool has_all_bytes(const GgufTokens& tokens) { return std::ranges::count(tokens.types, TokenType::byte) == 256; }

std::vector<TokenType> types_of(const GgufTokens& tokens) {
  std::vector<TokenType> types = tokens.types;
  if (std::ranges::count(types, TokenType::unknown) == 0) {
    if (!tokens.specials.unk) fail(ExitCode::malformed, "no token stands for what is unknown");
    types[static_cast<size_t>(*tokens.specials.unk)] = TokenType::unknown;
  }
  if (!has_all_bytes(tokens)) std::ranges::replace(types, TokenType::byte, TokenType::unused);
  return types;
}

Message trainer_of(const GgufTokens& tokens) {
  constexpr uint64_t kBpe = 2;
  Message trainer;
  trainer.number(3, kBpe);
  trainer.number(35, has_all_bytes(tokens));
  const std::pair<uint32_t, std::optional<int32_t>> pieces[] = {
      {45, tokens.specials.unk}, {46, tokens.specials.bos}, {47, tokens.specials.eos}, {48, tokens.specials.pad}};
  for (const auto& [field, id] : pieces) {
    if (id) trainer.text(field, tokens.tokens[static_cast<size_t>(*id)]);
  }
  return trainer;
}

}  // namespace

std::string sentence_piece_model_of(const GgufTokens& tokens) {
  Message model;
  const auto types = types_of(tokens);
  for (size_t id = 0; id < tokens.tokens.size(); ++id) {
    Message piece;
    piece.text(1, tokens.tokens[id]);
    piece.real(2, tokens.scores[id]);
    piece.number(3, static_cast<uint64_t>(types[id]));
    model.text(1, piece.bytes());
  }
  model.text(2, trainer_of(tokens).bytes());
  Message normalizer;
  normalizer.text(1, "identity");
  normalizer.number(3, tokens.add_space_prefix);
  normalizer.number(4, 0);  // white space stays as it is
  normalizer.number(5, 1);
  model.text(3, normalizer.bytes());
  return model.bytes();
}

}  // namespace prentice
