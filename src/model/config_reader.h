// Typed reading of a model's config.json: absent keys fall back to the family's defaults, and every mistake is kept
// until all are known.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "io/json.h"
#include "model/family.h"

namespace prentice {

class ConfigReader {
 public:
  // `origin` is what messages call the file.
  ConfigReader(const Json& config, const Family& family, std::string origin)
      : config_(config), family_(family), origin_(std::move(origin)) {}

  // The value of `key`: config.json's unless absent, then the family's default, then nullptr; also nullptr for a key
  // the family ignores. `null` in the file counts as a value.
  const Json* find(std::string_view key) const;

  // A whole number in [1, limit]; absent and without a default is a mistake.
  int64_t size(std::string_view key, int64_t limit);
  // The same, but nullopt when absent or null.
  std::optional<int64_t> optional_size(std::string_view key, int64_t limit);
  double positive(std::string_view key, double fallback);
  bool flag(std::string_view key, bool fallback);
  bool flag(const FamilySwitch& choice) { return choice.key.empty() ? choice.value : flag(choice.key, false); }
  // One id or a list of ids; null and absent are no ids.
  std::vector<int32_t> ids(std::string_view key);

  // Notes `FILE: key: message`.
  void mistake(std::string_view key, std::string message, std::string hint = "");
  bool clean() const { return mistakes_.empty(); }  // no mistake so far
  // Errors: `model`, all mistakes together, if there are any.
  void check() const;

 private:
  const Json& config_;
  const Family& family_;
  std::string origin_;
  std::vector<Diagnostic> mistakes_;
};

// A value as messages quote it, shortened.
std::string quoted(const Json& value);

}  // namespace prentice
