#include "config/configs.h"

#include <fstream>
#include <iterator>
#include <set>

#include "core/error.h"

namespace prentice {

struct EmbeddedFile {
  const char* path;
  const char* text;
};
extern const EmbeddedFile kEmbeddedConfigs[];  // generated from configs/, ended by a null path

namespace {

namespace fs = std::filesystem;

fs::path& override_folder() {
  static fs::path folder;
  return folder;
}

// Names come from recipes and model files: plain relative ones only.
bool is_plain_relative(const fs::path& path) {
  if (path.empty() || path.is_absolute()) return false;
  for (const auto& part : path) {
    if (part == ".." || part == ".") return false;
  }
  return true;
}

}  // namespace

std::optional<std::string> read_config(std::string_view path) {
  if (path.find('\0') != path.npos || !is_plain_relative(path)) return std::nullopt;
  if (!override_folder().empty()) {
    const fs::path file = override_folder() / path;
    std::error_code error;
    if (fs::is_regular_file(file, error)) {
      std::ifstream stream(file, std::ios::binary);
      if (!stream) fail(ExitCode::usage, file.string() + ": cannot be read");
      return std::string(std::istreambuf_iterator<char>(stream), {});
    }
  }
  for (const EmbeddedFile* file = kEmbeddedConfigs; file->path; ++file) {
    if (path == file->path) return file->text;
  }
  return std::nullopt;
}

std::optional<std::string> read_embedded(std::string_view path) {
  constexpr std::string_view kFolder = "configs/";
  const auto at = path.rfind(kFolder);
  const bool whole_name = at == 0 || (at != path.npos && path[at - 1] == '/');
  return whole_name ? read_config(path.substr(at + kFolder.size())) : std::nullopt;
}

std::vector<std::string> list_configs(std::string_view prefix) {
  std::set<std::string> paths;
  for (const EmbeddedFile* file = kEmbeddedConfigs; file->path; ++file) {
    if (std::string_view(file->path).starts_with(prefix)) paths.insert(file->path);
  }
  if (!override_folder().empty()) {
    for (const auto& entry : fs::recursive_directory_iterator(override_folder())) {
      if (!entry.is_regular_file()) continue;
      const std::string path = fs::relative(entry.path(), override_folder()).generic_string();
      if (path.starts_with(prefix)) paths.insert(path);
    }
  }
  return {paths.begin(), paths.end()};
}

void override_configs(const fs::path& folder) {
  if (!fs::is_directory(folder)) fail(ExitCode::usage, "--configs: no such folder: " + folder.string());
  override_folder() = fs::absolute(folder);
}

}  // namespace prentice
