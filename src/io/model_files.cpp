#include "io/model_files.h"

#include <algorithm>
#include <array>

namespace prentice {

namespace {

constexpr std::array<std::string_view, 9> kTokenizer = {
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json",     "merges.txt",      "chat_template.jinja",   "chat_template.json"};
constexpr std::array<std::string_view, 4> kLicences = {"LICENSE", "LICENCE", "NOTICE", "USE_POLICY"};
constexpr std::array<std::string_view, 4> kPickles = {".bin", ".pt", ".pth", ".ckpt"};

}  // namespace

bool is_companion_file(std::string_view name) {
  if (name.find('/') != name.npos) return false;
  return is_tokenizer_file(name) || name == "generation_config.json" ||
         std::any_of(kLicences.begin(), kLicences.end(), [&](auto start) { return name.starts_with(start); });
}

bool is_tokenizer_file(std::string_view name) {
  return std::find(kTokenizer.begin(), kTokenizer.end(), name) != kTokenizer.end();
}

bool is_pickled_weights(std::string_view name) {
  if (name.starts_with("tokenizer") || name == "training_args.bin") return false;
  return std::any_of(kPickles.begin(), kPickles.end(), [&](auto ending) { return name.ends_with(ending); });
}

}  // namespace prentice
