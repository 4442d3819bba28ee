#include "core/utf8.h"
#include "text/tokenizer.h"

namespace prentice {

// Decoders look at their neighbours (a leading space, bytes of one character), so a token's text is the difference
// between decoding with it and without it, both from the same start.
StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(tokenizer), skip_special_(skip_special) {}

std::string StreamDecoder::decode_from_start(size_t count) const {
  return tokenizer_.decode(std::span(ids_).first(count), skip_special_);
}

std::string StreamDecoder::push(int32_t id) {
  ids_.push_back(id);
  std::string before = decode_from_start(emitted_), now = decode_from_start(ids_.size());
  if (now.size() <= before.size() || now.ends_with(kReplacementCharacter)) return "";
  // The start moves to the tokens that gave this text: the next one still has a neighbour on its left.
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(emitted_));
  emitted_ = ids_.size();
  return now.substr(before.size());
}

std::string StreamDecoder::finish() {
  std::string before = decode_from_start(emitted_), now = decode_from_start(ids_.size());
  emitted_ = ids_.size();
  return now.size() > before.size() ? now.substr(before.size()) : "";
}

}  // namespace prentice
