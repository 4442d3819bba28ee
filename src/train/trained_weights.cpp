#include "train/trained_weights.h"

#include <map>
#include <set>
#include <string>

#include "core/error.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "train/tensor_file.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexFile = "weights.json";
constexpr const char* kRestFile = "trainable.safetensors";

struct Place {
  const SafetensorsFile* file = nullptr;
  const TensorView* view = nullptr;
};

std::vector<SafetensorsFile> open_all(const fs::path& folder) {
  std::set<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    if (name.ends_with(".safetensors") && !name.starts_with("optimizer-")) paths.insert(entry.path());
  }
  std::vector<SafetensorsFile> files;
  for (const auto& path : paths) files.push_back(SafetensorsFile::open(path));
  return files;
}

// Every stored tensor under its name and under each ending of it that begins after a dot: other programs put prefixes.
std::multimap<std::string_view, Place> index_by_ending(const std::vector<SafetensorsFile>& files) {
  std::multimap<std::string_view, Place> index;
  for (const auto& file : files) {
    for (const auto& view : file.tensors()) {
      std::string_view name = view.name;
      for (;;) {
        index.emplace(name, Place{&file, &view});
        const auto dot = name.find('.');
        if (dot == std::string_view::npos) break;
        name.remove_prefix(dot + 1);
      }
    }
  }
  return index;
}

bool is_stored(const Place& place, const Tensor& tensor) {
  const bool same = same_bytes(*place.view, tensor);
  place.file->release_pages();  // or the whole file stands in memory beside what it is compared with
  return same;
}

}  // namespace

void store_trained(const fs::path& folder, const NamedTensors& trainable) {
  const auto files = open_all(folder);
  const auto index = index_by_ending(files);
  Json places = Json::Object{};
  NamedTensors rest;
  for (const auto& [name, tensor] : trainable) {
    auto [begin, end] = index.equal_range(name);
    while (begin != end && !is_stored(begin->second, tensor)) ++begin;
    if (begin == end) {
      rest.emplace_back(name, tensor);
      places[name] = Json::Object{{"file", kRestFile}, {"tensor", name}};
    } else {
      const auto& place = begin->second;
      places[name] = Json::Object{{"file", place.file->path().filename().string()}, {"tensor", place.view->name}};
    }
  }
  if (!rest.empty()) write_tensors(folder / kRestFile, rest);
  write_file_durably(folder / kIndexFile, places.dump(1) + "\n");
}

void restore_trained(const fs::path& folder, const NamedTensors& trainable) {
  const auto places = Json::parse_file(folder / kIndexFile);
  std::map<std::string, SafetensorsFile> files;
  for (const auto& [name, tensor] : trainable) {
    const auto* place = places.find(name);
    if (place == nullptr) fail(ExitCode::model, folder.string() + ": the trained tensor " + name + " is missing");
    const auto& file_name = place->at("file").as_string();
    auto file = files.find(file_name);
    if (file == files.end()) file = files.emplace(file_name, SafetensorsFile::open(folder / file_name)).first;
    const auto* view = file->second.find(place->at("tensor").as_string());
    if (view == nullptr) fail(ExitCode::model, (folder / file_name).string() + ": tensor " + name + " is missing");
    fill_tensor(tensor, *view);
    file->second.release_pages();
  }
  if (places.as_object().size() != trainable.size()) {
    fail(ExitCode::model, folder.string() + ": it holds trained tensors that this run does not train");
  }
}

}  // namespace prentice
