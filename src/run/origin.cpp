#include "run/origin.h"

#include <algorithm>

#include "config/bind.h"
#include "io/sha256.h"
#include "run/provenance.h"

namespace prentice {

namespace {

// Longer paths first: one may begin with another.
std::vector<InputHash> longest_first(std::vector<InputHash> inputs) {
  std::ranges::sort(inputs, std::greater(), [](const InputHash& input) { return input.path.size(); });
  return inputs;
}

std::string with_hashes(std::string text, const std::vector<InputHash>& inputs) {
  for (const auto& input : inputs) {
    if (input.path.empty()) continue;
    for (size_t at = text.find(input.path); at != text.npos; at = text.find(input.path, at + input.sha256.size())) {
      text.replace(at, input.path.size(), input.sha256);
    }
  }
  return text;
}

std::string recipe_hash(const std::string& recipe, const std::vector<InputHash>& inputs) {
  const auto by_length = longest_first(inputs);
  Sha256 hash;
  for (const auto& [key, value] : deciding_values(recipe)) {
    const std::string text = with_hashes(value, by_length);
    // What is left of a path leads to an input all the same: a run's folder to its adapter, a name to its snapshot.
    if (path_kind(key) != PathKind::none && text.find('/') != text.npos) continue;
    hash.update(key + "=" + text + "\n");
  }
  return hash.hex();
}

}  // namespace

FileOrigin origin_of(const std::string& recipe, const std::vector<InputHash>& inputs) {
  FileOrigin origin{{kOriginRecipe, recipe_hash(recipe, inputs)}, {kOriginProgram, binary_sha256()}};
  for (const auto& input : inputs) origin[kOriginInput + input.key] = input.sha256;
  return origin;
}

}  // namespace prentice
