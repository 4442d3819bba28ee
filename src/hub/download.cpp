#include "hub/download.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "core/error.h"
#include "hub/blob.h"
#include "hub/cache.h"
#include "io/file.h"
#include "io/json.h"
#include "io/model_files.h"
#include "io/publish.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kCacheTag =
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This file marks the folder as a cache that backup programs may leave out (https://bford.info/cachedir/).\n";

class Download {
 public:
  Download(std::string name, std::string revision, const HubCallbacks& callbacks,
           const std::function<void(const DownloadProgress&)>& progress)
      : name_(std::move(name)),
        revision_(std::move(revision)),
        folder_(hub_model_folder(name_)),
        hub_(callbacks),
        progress_(progress) {}

  Downloaded run() {
    listing_ = hub_.list(name_, revision_);
    has_.insert(listing_.files.begin(), listing_.files.end());
    std::vector<std::string> names = small_files();
    const std::vector<std::string> weights = weight_files();
    make_folders();
    names.insert(names.end(), weights.begin(), weights.end());
    std::vector<HubFile> files;
    for (const auto& name : names) files.push_back(hub_.facts(name_, listing_.commit, name));
    fetch_all(files);
    publish_ref();
    return {.snapshot = folder_.snapshot(listing_.commit),
            .commit = listing_.commit,
            .files = std::move(files),
            .bytes = state_.bytes,
            .fetched_bytes = fetched_bytes_};
  }

 private:
  void make_folders() {
    const fs::path cache = folder_.root.parent_path();
    for (const fs::path& folder :
         {folder_.root / "blobs", folder_.snapshot(listing_.commit), folder_.ref(revision_).parent_path(), locks()}) {
      std::error_code error;
      fs::create_directories(folder, error);
      if (error) fail(ExitCode::storage, folder.string() + ": cannot create the folder: " + error.message());
    }
    if (!fs::exists(cache / "CACHEDIR.TAG")) publish_file(cache / "CACHEDIR.TAG", kCacheTag);
  }

  fs::path locks() const { return folder_.root.parent_path() / ".locks" / folder_.root.filename(); }

  bool has(std::string_view file) const { return has_.contains(file); }

  std::vector<std::string> small_files() const {
    if (!has("config.json") && !has("adapter_config.json")) {
      fail(ExitCode::model,
           fmt::format("{}: holds no model: it has neither config.json nor adapter_config.json", name_));
    }
    std::vector<std::string> names;
    for (const auto& file : listing_.files) {
      if (file == "config.json" || file == "adapter_config.json" || is_companion_file(file)) names.push_back(file);
    }
    return names;
  }

  // The names that WeightFolder will read, in its order of preference. An index is fetched to learn them.
  std::vector<std::string> weight_files() {
    std::vector<std::string> names;
    for (const std::string stem : {"model", "adapter_model"}) {
      const std::string single = stem + ".safetensors", index = single + ".index.json";
      if (has(single)) {
        names.push_back(single);
      } else if (has(index)) {
        names.push_back(index);
        for (const auto& shard : shards_of(index)) names.push_back(shard);
      }
    }
    if (!names.empty()) return names;
    for (const auto& file : listing_.files) {
      if (is_pickled_weights(file))
        fail(ExitCode::model, fmt::format("{}: has no safetensors, and {}{}", name_, file, kPickleWarning),
             kPickleHint);
    }
    const bool is_gguf = std::any_of(listing_.files.begin(), listing_.files.end(),
                                     [](const std::string& file) { return file.ends_with(".gguf"); });
    fail(ExitCode::model, fmt::format("{}: has no safetensors{}", name_, is_gguf ? ", only GGUF files" : ""),
         is_gguf ? "take the model that these files were made from; its page at the hub names it" : "");
  }

  std::vector<std::string> shards_of(const std::string& index) {
    make_folders();
    const HubFile file = hub_.facts(name_, listing_.commit, index);
    fetched_bytes_ += fetch_blob(hub_, place_of(file), file, [](uint64_t) {});
    return with_context(ExitCode::model, name_ + ": " + index, [&] {
      const Json json = Json::parse_file(folder_.blob(file.hash));
      std::set<std::string> shards;
      for (const auto& [tensor, shard] : json.at("weight_map").as_object()) shards.insert(shard.as_string());
      for (const auto& shard : shards) {
        if (!has(shard)) fail(ExitCode::malformed, "names " + shard + ", which the repository does not hold");
      }
      return std::vector<std::string>(shards.begin(), shards.end());
    });
  }

  BlobPlace place_of(const HubFile& file) const {
    return {.model = name_,
            .commit = listing_.commit,
            .blob = folder_.blob(file.hash),
            .lock = locks() / (file.hash + ".lock")};
  }

  void fetch_all(const std::vector<HubFile>& files) {
    uint64_t at_hand = 0;
    for (const auto& file : files) {
      state_.bytes += file.bytes;
      at_hand += bytes_at_hand(place_of(file), file);
    }
    state_.files = files.size();
    require_free_bytes(folder_.root, state_.bytes - at_hand);
    for (const auto& file : files) {
      const uint64_t before = state_.bytes_done;
      state_.file = file.name;
      fetched_bytes_ += fetch_blob(hub_, place_of(file), file, [&](uint64_t bytes) {
        state_.bytes_done = before + bytes;
        progress_(state_);
      });
      link(file);
      state_.bytes_done = before + file.bytes;
      ++state_.files_done;
      progress_(state_);
    }
  }

  // snapshots/COMMIT/NAME -> ../../blobs/HASH; the whole cache can be moved elsewhere.
  void link(const HubFile& file) const {
    const fs::path pointer = folder_.snapshot(listing_.commit) / file.name;
    const fs::path target = folder_.blob(file.hash).lexically_relative(pointer.parent_path());
    std::error_code error;
    if (fs::read_symlink(pointer, error) == target) return;
    TempFile temporary(pointer);
    if (::symlink(target.c_str(), temporary.path().c_str()) != 0) fail_system("link", pointer, errno);
    if (::rename(temporary.path().c_str(), pointer.c_str()) != 0) fail_system("link", pointer, errno);
  }

  // Last: until now readers of the revision saw the commit they had.
  void publish_ref() const {
    fsync_folder(folder_.snapshot(listing_.commit));
    if (revision_ == listing_.commit || folder_.commit_of(revision_) == listing_.commit) return;
    publish_file(folder_.ref(revision_), listing_.commit);
  }

  std::string name_, revision_;
  HubModelFolder folder_;
  Hub hub_;
  const std::function<void(const DownloadProgress&)>& progress_;
  HubListing listing_;
  std::set<std::string, std::less<>> has_;
  DownloadProgress state_;
  uint64_t fetched_bytes_ = 0;
};

}  // namespace

Downloaded download_model(const std::string& name, const std::string& revision, const HubCallbacks& callbacks,
                          const std::function<void(const DownloadProgress&)>& progress) {
  if (!is_hub_name(name)) {
    fail(ExitCode::usage, fmt::format("download: expected ORG/NAME as the hub calls the model, got {}", name));
  }
  if (!is_plain_relative_name(revision)) {
    fail(ExitCode::usage, fmt::format("--revision: expected a branch, tag or commit, got {}", revision));
  }
  if (hub_cache_folder().empty()) fail(ExitCode::usage, "there is no home folder for the cache", "set HF_HOME");
  return Download(name, revision, callbacks, progress).run();
}

}  // namespace prentice
