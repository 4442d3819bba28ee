#include "teacher/store_manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "core/error.h"
#include "io/file.h"
#include "io/json.h"
#include "io/sha256.h"

namespace prentice {

namespace {

std::string hash_of(const Json& line, const char* key) {
  const std::string& hash = line.at(key).as_string();
  const bool is_hex = hash.find_first_not_of("0123456789abcdef") == hash.npos;
  if (hash.size() != 64 || !is_hex) fail(ExitCode::malformed, fmt::format("{}: expected 64 hex digits", key));
  return hash;
}

std::string commits_sha256(const std::vector<std::string>& commits) {
  Sha256 hash;
  for (const auto& commit : commits) hash.update(commit);
  return hash.hex();
}

void add_line(const Json& line, const StoreLayout& layout, StoreManifest& manifest) {
  if (manifest.shards.empty() || manifest.shards.back().full()) manifest.shards.emplace_back();
  const uint64_t shard = manifest.shards.size() - 1;
  if (shard >= layout.shards()) fail(ExitCode::malformed, "more shards than the store has");
  if (line.at("shard").as_integer() != static_cast<int64_t>(shard))
    fail(ExitCode::malformed, fmt::format("expected a line of shard {}", shard));
  auto& entry = manifest.shards.back();
  const uint64_t chunks = layout.chunks_of(shard);
  if (line.find("file_sha256") != nullptr) {
    if (entry.commits.size() != chunks) fail(ExitCode::malformed, "a full shard that lacks commits");
    if (hash_of(line, "commits_sha256") != commits_sha256(entry.commits))
      fail(ExitCode::malformed, "the commits above are not those that the shard was closed with");
    entry.file_bytes = static_cast<uint64_t>(line.at("file_bytes").as_integer());
    entry.file_sha256 = hash_of(line, "file_sha256");
    return;
  }
  if (entry.commits.size() == chunks) fail(ExitCode::malformed, "more commits than the shard has chunks");
  const uint64_t rows = rows_after(entry.commits.size() + 1, layout.chunk_rows, layout.shard_rows(shard));
  if (line.at("rows").as_integer() != static_cast<int64_t>(rows))
    fail(ExitCode::malformed, fmt::format("expected the commit up to row {}", rows));
  entry.commits.push_back(hash_of(line, "sha256"));
}

}  // namespace

uint64_t StoreManifest::lines() const {
  uint64_t lines = 0;
  for (const auto& shard : shards) lines += shard.commits.size() + (shard.full() ? 1 : 0);
  return lines;
}

uint64_t StoreManifest::rows(const StoreLayout& layout) const {
  uint64_t rows = 0;
  for (uint64_t shard = 0; shard < shards.size(); ++shard)
    rows += rows_after(shards[shard].commits.size(), layout.chunk_rows, layout.shard_rows(shard));
  return rows;
}

StoreManifest read_store_manifest(const std::filesystem::path& store, const StoreLayout& layout) {
  const auto path = store / kStoreManifestFile;
  return with_context(ExitCode::model, path.string(), [&] {
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) fail(ExitCode::malformed, "is missing");
    const std::string text = read_text_file(path);
    StoreManifest manifest;
    size_t start = 0;
    for (size_t end; (end = text.find('\n', start)) != std::string::npos; start = end + 1) {
      const auto line = std::string_view(text).substr(start, end - start);
      with_context(ExitCode::malformed, fmt::format("line {}", manifest.lines() + 1),
                   [&] { add_line(Json::parse(line, 4), layout, manifest); });
    }
    return manifest;
  });
}

uint64_t rows_after(uint64_t chunks, uint64_t chunk_rows, uint64_t shard_rows) {
  return std::min(chunks * chunk_rows, shard_rows);
}

uint64_t settled_chunks(const StoreManifest::Shard& shard, uint64_t committed_rows, const StoreLayout& layout,
                        uint64_t shard_rows) {
  const uint64_t lines = shard.commits.size();
  const bool last_holds = committed_rows == rows_after(lines, layout.chunk_rows, shard_rows);
  return last_holds || lines == 0 ? lines : lines - 1;
}

std::string commit_line(uint64_t shard, uint64_t rows, const std::string& sha256) {
  return Json(Json::Object{{"shard", shard}, {"rows", rows}, {"sha256", sha256}}).dump() + "\n";
}

std::string full_line(uint64_t shard, uint64_t bytes, const std::string& sha256,
                      const std::vector<std::string>& commits) {
  return Json(Json::Object{{"shard", shard},
                           {"file_bytes", bytes},
                           {"file_sha256", sha256},
                           {"commits_sha256", commits_sha256(commits)}})
             .dump() +
         "\n";
}

}  // namespace prentice
