#include "config/address.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "config/configs.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

bool is_shape(const std::string& name) { return read_config("models/" + name + ".json").has_value(); }

// ORG/NAME, unless ORG is a folder where the path would start.
bool is_hub_name(const fs::path& folder, const std::string& address) {
  const size_t slash = address.find('/');
  if (slash == address.npos || slash == 0 || slash + 1 == address.size() ||
      address.find('/', slash + 1) != address.npos)
    return false;
  const std::string org = address.substr(0, slash);
  return org[0] != '.' && org[0] != '~' && org != "runs" && !is_there(folder / org);
}

// ORG/NAME as the Hugging Face cache names it: models--ORG--NAME.
bool is_cached(const std::string& name) {
  const size_t slash = name.find('/');
  if (slash == name.npos || slash == 0 || name.find('/', slash + 1) != name.npos) return false;
  const char* home = std::getenv("HF_HOME");
  const char* user = std::getenv("HOME");
  if (!home && !user) return false;
  const fs::path root = home ? fs::path(home) : fs::path(user) / ".cache/huggingface";
  return is_there(root / "hub" / ("models--" + name.substr(0, slash) + "--" + name.substr(slash + 1)));
}

// "@120" or "@best" at the end, else "".
std::string checkpoint_suffix(const std::string& address) {
  const size_t at = address.rfind('@');
  if (at == address.npos || at == 0) return "";
  const std::string which = address.substr(at + 1);
  const bool is_step =
      !which.empty() && std::all_of(which.begin(), which.end(), [](unsigned char c) { return std::isdigit(c); });
  return is_step || which == "best" ? address.substr(at) : "";
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

std::string absolute_address(const fs::path& folder, const std::string& address) {
  if (address.empty()) return address;
  const fs::path whole = absolute_from(folder, address);
  if (is_there(whole)) return whole.string();
  if (const size_t plus = address.rfind('+'); plus != address.npos && plus > 0 && plus + 1 < address.size()) {
    return absolute_address(folder, address.substr(0, plus)) + "+" + absolute_address(folder, address.substr(plus + 1));
  }
  if (const std::string suffix = checkpoint_suffix(address); !suffix.empty()) {
    return absolute_address(folder, address.substr(0, address.size() - suffix.size())) + suffix;
  }
  if (is_shape(address) || is_hub_name(folder, address)) return address;
  return whole.string();
}

bool is_promised(const fs::path& path, const std::vector<fs::path>& promised) {
  return std::any_of(promised.begin(), promised.end(), [&](const fs::path& folder) {
    const auto [end, at] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
    return end == folder.end();
  });
}

bool address_exists(const std::string& address, const std::vector<fs::path>& promised) {
  if (is_there(address) || is_promised(address, promised) || is_shape(address) || is_cached(address)) return true;
  if (const size_t plus = address.rfind('+'); plus != address.npos && plus > 0 && plus + 1 < address.size()) {
    return address_exists(address.substr(0, plus), promised) && address_exists(address.substr(plus + 1), promised);
  }
  const std::string suffix = checkpoint_suffix(address);
  return !suffix.empty() && address_exists(address.substr(0, address.size() - suffix.size()), promised);
}

}  // namespace prentice
