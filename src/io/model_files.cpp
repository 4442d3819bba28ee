#include "io/model_files.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace prentice {

namespace {

constexpr std::array<std::string_view, 9> kTokenizer = {
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json",     "merges.txt",      "chat_template.jinja",   "chat_template.json"};
constexpr std::array<std::string_view, 5> kLicences = {"license", "licence", "notice", "use_policy", "copying"};
constexpr std::array<std::string_view, 4> kPickles = {".bin", ".pt", ".pth", ".ckpt"};

}  // namespace

bool is_companion_file(std::string_view name) {
  if (name.find('/') != name.npos) return false;
  return is_tokenizer_file(name) || name == "generation_config.json" || is_licence_file(name);
}

bool is_licence_file(std::string_view name) {
  if (name.find('/') != name.npos) return false;
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::any_of(kLicences.begin(), kLicences.end(), [&](auto start) { return lower.starts_with(start); });
}

bool is_tokenizer_file(std::string_view name) {
  return std::find(kTokenizer.begin(), kTokenizer.end(), name) != kTokenizer.end();
}

bool is_pickled_weights(std::string_view name) {
  if (name.starts_with("tokenizer") || name == "training_args.bin") return false;
  return std::any_of(kPickles.begin(), kPickles.end(), [&](auto ending) { return name.ends_with(ending); });
}

}  // namespace prentice
