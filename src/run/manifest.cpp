#include "run/manifest.h"

#include <fmt/format.h>

#include <set>

#include "core/error.h"
#include "io/file.h"
#include "io/sha256.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr const char* kManifestFile = "manifest.json";
constexpr int kFormat = 1;
constexpr uint64_t kMaxBytes = uint64_t{64} << 20;
constexpr size_t kDigits = 64;

// Where the digits of the manifest's own hash stand: the last value of the text. npos when there are none.
size_t own_hash_position(std::string_view text) {
  constexpr std::string_view kKey = "\"manifest_sha256\": \"";
  const auto key = text.rfind(kKey);
  if (key == std::string_view::npos || key + kKey.size() + kDigits > text.size()) return std::string_view::npos;
  return key + kKey.size();
}

std::string own_hash(std::string text, size_t position) {
  text.replace(position, kDigits, kDigits, '0');
  return sha256_hex(std::string_view(text));
}

std::string damage_of_file(const fs::path& folder, const std::string& name, const Json& wanted) {
  if (!is_plain_relative_name(name)) return fmt::format("{}: bad file name \"{}\"", kManifestFile, name);
  const auto path = folder / name;
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) return fmt::format("{}: it is missing", name);
  const auto wanted_size = wanted.at("bytes").as_integer();
  if (static_cast<int64_t>(size) != wanted_size)
    return fmt::format("{}: expected {} bytes, got {}", name, wanted_size, size);
  const auto found = sha256_file(path);
  const auto& wanted_hash = wanted.at("sha256").as_string();
  return found == wanted_hash ? "" : fmt::format("{}: expected SHA-256 {}, got {}", name, wanted_hash, found);
}

}  // namespace

void write_manifest(const fs::path& folder, Json::Object facts) {
  std::set<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) paths.insert(entry.path());
  }
  Json::Object files;
  for (const auto& path : paths) {
    files.emplace_back(
        path.lexically_relative(folder).generic_string(),
        Json::Object{{"bytes", static_cast<int64_t>(fs::file_size(path))}, {"sha256", sha256_file(path)}});
  }
  Json::Object manifest = {{"format", kFormat}};
  for (auto& fact : facts) manifest.push_back(std::move(fact));
  manifest.emplace_back("files", std::move(files));
  manifest.emplace_back("manifest_sha256", std::string(kDigits, '0'));
  std::string text = Json(std::move(manifest)).dump(1) + "\n";
  const auto position = own_hash_position(text);
  text.replace(position, kDigits, own_hash(text, position));
  write_file_durably(folder / kManifestFile, text);
}

std::string damage_of(const fs::path& folder) {
  const auto path = folder / kManifestFile;
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) return fmt::format("{} is missing", kManifestFile);
  if (size > kMaxBytes) return fmt::format("{}: {} bytes are more than a manifest has", kManifestFile, size);
  const std::string text = read_text_file(path);
  const auto position = own_hash_position(text);
  if (position == std::string::npos) return fmt::format("{}: it is cut off or no manifest", kManifestFile);
  if (std::string_view(text).substr(position, kDigits) != own_hash(text, position)) {
    return fmt::format("{}: its text does not match its own hash", kManifestFile);
  }
  return with_context(ExitCode::model, path.string(), [&]() -> std::string {
    const auto manifest = Json::parse(text);
    if (const auto format = manifest.at("format").as_integer(); format != kFormat) {
      return fmt::format("{}: expected format {}, got {}", kManifestFile, kFormat, format);
    }
    for (const auto& [name, wanted] : manifest.at("files").as_object()) {
      if (auto damage = damage_of_file(folder, name, wanted); !damage.empty()) return damage;
    }
    return "";
  });
}

Json read_manifest(const fs::path& folder) { return Json::parse_file(folder / kManifestFile); }

uint64_t listed_bytes(const Json& manifest) {
  uint64_t bytes = 0;
  for (const auto& [name, file] : manifest.at("files").as_object())
    bytes += static_cast<uint64_t>(file.at("bytes").as_integer());
  return bytes;
}

}  // namespace prentice
