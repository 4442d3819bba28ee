#include "hub/cache.h"

#include <algorithm>
#include <cctype>
#include <fstream>

#include "hub/environment.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxNameBytes = 96;  // the hub's own limit for a repository's name

fs::path expanded(const std::string& path) {
  const std::string home = environment_variable("HOME");
  if (path == "~" || path.starts_with("~/")) return home.empty() ? fs::path() : fs::path(home + path.substr(1));
  return path;
}

bool is_name_part(std::string_view part) {
  const auto is_allowed = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; };
  const auto is_edge = [](char c) { return c == '-' || c == '.'; };
  return !part.empty() && std::all_of(part.begin(), part.end(), is_allowed) && !is_edge(part.front()) &&
         !is_edge(part.back()) && part.find("--") == part.npos && part.find("..") == part.npos;
}

bool is_model(const fs::path& snapshot) {
  std::error_code error;
  return fs::exists(snapshot / "config.json", error) || fs::exists(snapshot / "adapter_config.json", error);
}

}  // namespace

bool is_hub_name(std::string_view name) {
  const size_t slash = name.find('/');
  return slash != name.npos && name.size() <= kMaxNameBytes && is_name_part(name.substr(0, slash)) &&
         is_name_part(name.substr(slash + 1));
}

fs::path hub_home_folder() {
  if (const std::string home = environment_variable("HF_HOME"); !home.empty()) return expanded(home);
  if (const std::string cache = environment_variable("XDG_CACHE_HOME"); !cache.empty())
    return fs::path(cache) / "huggingface";
  return environment_variable("HOME").empty() ? fs::path()
                                              : fs::path(environment_variable("HOME")) / ".cache" / "huggingface";
}

fs::path hub_cache_folder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string folder = environment_variable(name); !folder.empty()) return expanded(folder);
  }
  const fs::path home = hub_home_folder();
  return home.empty() ? home : home / "hub";
}

std::string HubModelFolder::commit_of(std::string_view revision) const {
  std::ifstream file(ref(revision));
  std::string commit;
  file >> commit;
  return commit.find('/') == commit.npos && commit != ".." ? commit : "";
}

std::vector<fs::path> HubModelFolder::snapshots() const {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(root / "snapshots", error), end; !error && entry != end; entry.increment(error)) {
    if (is_model(entry->path())) found.push_back(entry->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

HubModelFolder hub_model_folder(std::string_view name) {
  std::string folder = "models--" + std::string(name);
  if (const size_t slash = folder.find('/'); slash != folder.npos) folder.replace(slash, 1, "--");
  return {hub_cache_folder() / folder};
}

bool is_in_hub_cache(const fs::path& path) {
  bool in_model = false;
  for (const auto& part : path) {
    if (in_model && (part == "snapshots" || part == "blobs")) return true;
    in_model = part.string().starts_with("models--");
  }
  return false;
}

fs::path cached_snapshot(std::string_view name) {
  if (!is_hub_name(name) || hub_cache_folder().empty()) return {};
  const HubModelFolder folder = hub_model_folder(name);
  const std::string commit = folder.commit_of("main");
  if (commit.empty()) return {};
  const fs::path snapshot = folder.snapshot(commit);
  return is_model(snapshot) ? snapshot : fs::path();
}

std::string missing_model_hint(std::string_view name) {
  std::string hint = "prentice download " + std::string(name);
  if (!is_hub_name(name) || hub_cache_folder().empty()) return hint;
  const auto others = hub_model_folder(name).snapshots();
  return others.empty() ? hint : hint + " (the cache holds another revision: " + others.back().string() + ")";
}

}  // namespace prentice
