#include "model/config_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace prentice {

std::string quoted(const Json& value) {
  constexpr size_t kLongest = 60;
  std::string text = value.dump();
  return text.size() > kLongest ? text.substr(0, kLongest) + "..." : text;
}

const Json* ConfigReader::find(std::string_view key) const {
  if (std::find(family_.ignored_keys.begin(), family_.ignored_keys.end(), key) != family_.ignored_keys.end()) {
    return nullptr;
  }
  if (const Json* value = config_.find(key)) return value;
  const auto fallback = family_.defaults.find(key);
  return fallback == family_.defaults.end() ? nullptr : &fallback->second;
}

int64_t ConfigReader::size(std::string_view key, int64_t limit) {
  if (const auto value = optional_size(key, limit)) return *value;
  const Json* found = find(key);
  if (!found || found->is_null()) mistake(key, "is missing");
  return 1;  // lets the other keys be checked
}

std::optional<int64_t> ConfigReader::optional_size(std::string_view key, int64_t limit) {
  const Json* found = find(key);
  if (!found || found->is_null()) return std::nullopt;
  if (found->is_integer() && found->as_integer() >= 1 && found->as_integer() <= limit) return found->as_integer();
  mistake(key, fmt::format("expected a whole number from 1 to {}, got {}", limit, quoted(*found)));
  return std::nullopt;
}

double ConfigReader::positive(std::string_view key, double fallback) {
  const Json* found = find(key);
  if (!found || found->is_null()) return fallback;
  const double value = found->is_number() ? found->as_number() : std::numeric_limits<double>::quiet_NaN();
  if (std::isfinite(value) && value > 0) return value;
  mistake(key, fmt::format("expected a positive number, got {}", quoted(*found)));
  return fallback;
}

bool ConfigReader::flag(std::string_view key, bool fallback) {
  const Json* found = find(key);
  if (!found || found->is_null()) return fallback;
  if (found->is_bool()) return found->as_bool();
  mistake(key, fmt::format("expected true or false, got {}", quoted(*found)));
  return fallback;
}

std::vector<int32_t> ConfigReader::ids(std::string_view key) {
  const Json* found = find(key);
  if (!found || found->is_null()) return {};
  const Json::Array items = found->is_array() ? found->as_array() : Json::Array{*found};
  std::vector<int32_t> ids;
  for (const Json& item : items) {
    if (item.is_integer() && item.as_integer() >= 0 && item.as_integer() <= std::numeric_limits<int32_t>::max()) {
      ids.push_back(static_cast<int32_t>(item.as_integer()));
    } else {
      mistake(key, fmt::format("expected a token id or a list of them, got {}", quoted(*found)));
      return {};
    }
  }
  return ids;
}

void ConfigReader::mistake(std::string_view key, std::string message, std::string hint) {
  for (const auto& known : mistakes_) {
    if (known.key == key) return;
  }
  mistakes_.push_back(
      {.message = std::move(message), .hint = std::move(hint), .file = origin_, .key = std::string(key)});
}

void ConfigReader::check() const {
  if (!mistakes_.empty()) throw Error(ExitCode::model, mistakes_);
}

}  // namespace prentice
