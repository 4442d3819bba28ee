#include "run/input_hashes.h"

#include <set>
#include <utility>

#include "io/sha256.h"

namespace prentice {

namespace fs = std::filesystem;

Json to_json(const std::vector<InputHash>& hashes) {
  Json::Array array;
  for (const auto& input : hashes) {
    array.push_back(Json::Object{{"key", input.key}, {"path", input.path}, {"sha256", input.sha256}});
  }
  return array;
}

std::vector<InputHash> input_hashes_from(const Json& json) {
  std::vector<InputHash> hashes;
  for (const auto& input : json.as_array()) {
    hashes.push_back({input.at("key").as_string(), input.at("path").as_string(), input.at("sha256").as_string()});
  }
  return hashes;
}

std::string sha256_of_input(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return cached_sha256_file(path);
  std::set<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.is_regular_file()) files.insert(entry.path());
  }
  Sha256 hash;
  for (const auto& file : files) hash.update(cached_sha256_file(file) + "  " + file.filename().string() + "\n");
  return hash.hex();
}

InputHashes::InputHashes(std::vector<InputPath> inputs)
    : pending_(std::async(std::launch::async, [this, inputs = std::move(inputs)] {
        std::vector<InputHash> hashes;
        for (const auto& input : inputs) {
          if (unwanted_) break;
          const auto absolute = fs::absolute(input.path).lexically_normal();
          hashes.push_back({input.key, absolute.string(), sha256_of_input(absolute)});
        }
        return hashes;
      })) {}

InputHashes::~InputHashes() { unwanted_ = true; }

const std::vector<InputHash>& InputHashes::get() {
  if (pending_.valid()) hashes_ = pending_.get();
  return hashes_;
}

}  // namespace prentice
