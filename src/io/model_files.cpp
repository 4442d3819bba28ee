#include "io/model_files.h"

#include <algorithm>
#include <array>

namespace prentice {

namespace {

constexpr std::array<std::string_view, 10> kNames = {
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json",  "special_tokens_map.json", "added_tokens.json",
    "vocab.json",     "merges.txt",      "generation_config.json", "chat_template.jinja",     "chat_template.json"};
constexpr std::array<std::string_view, 4> kLicences = {"LICENSE", "LICENCE", "NOTICE", "USE_POLICY"};
constexpr std::array<std::string_view, 4> kPickles = {".bin", ".pt", ".pth", ".ckpt"};

}  // namespace

bool is_companion_file(std::string_view name) {
  if (name.find('/') != name.npos) return false;
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() ||
         std::any_of(kLicences.begin(), kLicences.end(), [&](auto start) { return name.starts_with(start); });
}

bool is_pickled_weights(std::string_view name) {
  if (name.starts_with("tokenizer") || name == "training_args.bin") return false;
  return std::any_of(kPickles.begin(), kPickles.end(), [&](auto ending) { return name.ends_with(ending); });
}

}  // namespace prentice
