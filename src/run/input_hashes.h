// SHA-256 of everything a run reads, computed on a thread while the model loads; needed by the first checkpoint.
#pragma once

#include <atomic>
#include <filesystem>
#include <future>
#include <string>
#include <vector>

#include "io/json.h"

namespace prentice {

struct InputPath {
  std::string key;  // the recipe key that names it: model.path, data.train[0]
  std::filesystem::path path;
};

struct InputHash {
  std::string key, path, sha256;
  bool operator==(const InputHash&) const = default;
};

Json to_json(const std::vector<InputHash>& hashes);
std::vector<InputHash> input_hashes_from(const Json& json);  // errors: `malformed`

// Of a file: its SHA-256. Of a folder: the SHA-256 of "HASH  NAME\n" for each plain file in it, sorted by name, as
// `sha256sum` prints them (sub-folders are not read). Errors: `usage` when missing, `storage`.
std::string sha256_of_input(const std::filesystem::path& path);

class InputHashes {
 public:
  explicit InputHashes(std::vector<InputPath> inputs);
  ~InputHashes();  // the thread ends with the file it is at
  InputHashes(const InputHashes&) = delete;

  // Waits for the thread. Errors: as sha256_of_input, once.
  const std::vector<InputHash>& get();

 private:
  std::atomic<bool> unwanted_ = false;
  std::future<std::vector<InputHash>> pending_;
  std::vector<InputHash> hashes_;
};

}  // namespace prentice
