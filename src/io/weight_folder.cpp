#include <algorithm>
#include <set>

#include "io/json.h"
#include "io/model_files.h"
#include "io/safetensors.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxIndexValues = 2'000'000;

[[noreturn]] void fail_no_weights(const fs::path& folder, const std::string& name) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    fail(ExitCode::usage, folder.string() + (fs::exists(folder, error) ? ": is not a folder" : ": does not exist"));
  }
  const auto wanted = name + ".safetensors";
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const auto file = entry.path().filename().string();
    if (!is_pickled_weights(file)) continue;
    fail(ExitCode::model, folder.string() + ": has no " + wanted + ", and " + file + kPickleWarning, kPickleHint);
  }
  fail(ExitCode::usage, folder.string() + ": has no " + wanted + " and no " + wanted + ".index.json");
}

// shard -> the tensors that the index expects in it
std::map<std::string, std::set<std::string>> read_index(const fs::path& path) {
  return with_context(ExitCode::model, path.string(), [&] {
    const auto json = Json::parse_file(path, {.max_bytes = 200'000'000, .max_depth = 8, .max_values = kMaxIndexValues});
    std::map<std::string, std::set<std::string>> shards;
    for (const auto& [tensor, file] : json.at("weight_map").as_object()) {
      if (!is_plain_relative_name(file.as_string())) {
        fail(ExitCode::malformed, "\"" + file.as_string() + "\" is not a plain relative file name");
      }
      shards[file.as_string()].insert(tensor);
    }
    if (shards.empty()) fail(ExitCode::malformed, "\"weight_map\" is empty");
    return shards;
  });
}

void check_shard(const SafetensorsFile& shard, const std::set<std::string>& wanted) {
  for (const auto& tensor : shard.tensors()) {
    if (!wanted.contains(tensor.name)) {
      fail(ExitCode::model,
           shard.path().string() + ": holds tensor " + tensor.name + ", which the index does not list here");
    }
  }
  for (const auto& name : wanted) {
    if (shard.find(name) == nullptr) {
      fail(ExitCode::model, shard.path().string() + ": lacks tensor " + name + ", which the index lists here");
    }
  }
}

std::vector<SafetensorsFile> open_files(const fs::path& folder, const std::string& name) {
  std::vector<SafetensorsFile> files;
  const auto single = folder / (name + ".safetensors"), index = folder / (name + ".safetensors.index.json");
  std::error_code error;
  if (fs::exists(single, error)) {
    files.push_back(SafetensorsFile::open(single));
    return files;
  }
  if (!fs::exists(index, error)) fail_no_weights(folder, name);
  const auto shards = read_index(index);
  for (const auto& [file, tensors] : shards) {
    if (!fs::exists(folder / file, error)) {
      fail(ExitCode::model, index.string() + ": names " + file + ", which is missing",
           "the download is incomplete: fetch the folder again");
    }
    files.push_back(SafetensorsFile::open(folder / file));
    check_shard(files.back(), tensors);
  }
  return files;
}

}  // namespace

WeightFolder WeightFolder::open(const fs::path& folder, const std::string& name) {
  WeightFolder weights;
  weights.files_ = open_files(folder, name);
  for (const auto& file : weights.files_) {
    for (const auto& tensor : file.tensors()) {
      weights.tensors_.push_back(&tensor);
      weights.index_.emplace(tensor.name, &tensor);
    }
  }
  return weights;
}

const TensorView* WeightFolder::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : found->second;
}

uint64_t WeightFolder::total_bytes() const {
  uint64_t total = 0;
  for (const auto* tensor : tensors_) total += tensor->bytes.size();
  return total;
}

void WeightFolder::release_pages() const {
  for (const auto& file : files_) file.release_pages();
}

}  // namespace prentice
