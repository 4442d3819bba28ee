#include "config/address.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "config/configs.h"
#include "hub/cache.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

bool is_shape(const std::string& name) { return read_config("models/" + name + ".json").has_value(); }

// Whether it stands behind the @ of a run.
bool is_checkpoint(const std::string& which) {
  const bool is_step =
      !which.empty() && std::all_of(which.begin(), which.end(), [](unsigned char c) { return std::isdigit(c); });
  return is_step || which == "best";
}

}  // namespace

fs::path absolute_from(const fs::path& folder, const std::string& path) {
  const char* home = std::getenv("HOME");
  if (path.starts_with("~/") && home) return (fs::path(home) / path.substr(2)).lexically_normal();
  return fs::absolute(folder / path).lexically_normal();
}

fs::path folder_of(const Position& position) {
  if (position.line == 0) return fs::current_path();
  return fs::absolute(fs::path(position.file)).parent_path();
}

Address parse_address(const fs::path& folder, const std::string& address) {
  if (address.empty() || is_there(absolute_from(folder, address))) return {.path = address};
  if (const size_t plus = address.rfind('+'); plus != address.npos && plus > 0 && plus + 1 < address.size()) {
    Address parts = parse_address(folder, address.substr(0, plus));
    if (parts.adapter.empty()) {
      parts.adapter = address.substr(plus + 1);
      return parts;
    }
  }
  const size_t at = address.rfind('@');
  if (at == address.npos || at == 0 || !is_checkpoint(address.substr(at + 1))) return {.path = address};
  return {.path = address.substr(0, at), .checkpoint = address.substr(at + 1)};
}

std::string without_adapter(const Address& address) {
  return address.checkpoint.empty() ? address.path : address.path + "@" + address.checkpoint;
}

bool is_hub_address(const fs::path& folder, const std::string& address) {
  const std::string org = address.substr(0, address.find('/'));
  if (!is_hub_name(address) || org == "runs") return false;
  return !cached_snapshot(address).empty() || !is_there(folder / org);
}

std::string absolute_address(const fs::path& folder, const std::string& address) {
  if (address.empty()) return address;
  const Address parts = parse_address(folder, address);
  const fs::path whole = absolute_from(folder, parts.path);
  const bool is_name = !is_there(whole) && (is_shape(parts.path) || is_hub_address(folder, parts.path));
  std::string absolute = is_name ? parts.path : whole.string();
  if (!parts.checkpoint.empty()) absolute.append("@").append(parts.checkpoint);
  if (!parts.adapter.empty()) absolute.append(1, '+').append(absolute_address(folder, parts.adapter));
  return absolute;
}

bool is_promised(const fs::path& path, const std::vector<fs::path>& promised) {
  return std::any_of(promised.begin(), promised.end(), [&](const fs::path& folder) {
    const auto [end, at] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
    return end == folder.end();
  });
}

bool address_exists(const std::string& address, const std::vector<fs::path>& promised) {
  const Address parts = parse_address(fs::current_path(), address);
  const bool found = is_there(parts.path) || is_promised(parts.path, promised) || is_shape(parts.path) ||
                     !cached_snapshot(parts.path).empty();
  return found && (parts.adapter.empty() || address_exists(parts.adapter, promised));
}

}  // namespace prentice
