#include "distill/store_key.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/data_template.h"
#include "io/sha256.h"

namespace prentice {

namespace {

// Words, numbers, spaces, other scripts and symbols: tokenizers with the same tokens differ in how they cut these.
constexpr const char* kProbe =
    "Hello, it's 3:05 p.m.  \tWe'LL pay 1234567.89 EUR\n\n \n  for (int i = 0; i < 10; ++i) { x += y_z; }\r\n"
    "\xC3\x9C"
    "ber stra\xC3\x9F"
    "e, na\xC3\xAFve caf\xC3\xA9; \xE4\xBD\xA0\xE5\xA5\xBD\xEF\xBC\x8C\xE4\xB8\x96\xE7\x95\x8C! "
    "\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82 \xF0\x9F\x98\x80\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD ...???";

}  // namespace

std::string tokenizer_sha256(const Tokenizer& tokenizer) {
  Sha256 hash;
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    hash.update(tokenizer.id_to_token(static_cast<int32_t>(id)));
    hash.update(std::string_view("\0", 1));
  }
  hash.update_sized(tokenizer.encode(kProbe, /*add_special=*/true));
  return hash.hex();
}

std::string template_sha256(const DataSection& section, const Tokenizer& tokenizer, const DataSet& set) {
  const auto chat_template = set.chat ? open_chat_template(section, tokenizer) : std::nullopt;
  if (!chat_template) return "none";
  std::string text = chat_template->source();
  for (const auto& [key, value] : section.template_args) text += fmt::format("\n{}={}", key, value);
  return sha256_hex(text);
}

std::string data_sha256(const EncodedSet& set) {
  Sha256 hash;
  for (const auto& sequence : set.sequences) {
    hash.update_sized(sequence.ids);
    hash.update_sized(sequence.labels);
  }
  return hash.hex();
}

std::string teacher_sha256(const Opened& opened, const std::vector<InputHash>& inputs, int64_t seed) {
  Sha256 hash;
  for (const auto& input : inputs) {
    if (input.key == "model.path" || input.key == "model.adapter") hash.update(input.key + " " + input.sha256 + "\n");
  }
  if (opened.quantize == Quantize::nf4) hash.update("in nf4\n");
  if (opened.quantize == Quantize::nf4_single) hash.update("in nf4-single\n");
  if (opened.random) hash.update(fmt::format("random {} {}\n", seed, artifact_config(opened.artifact).dump()));
  return hash.hex();
}

}  // namespace prentice
