// The Hugging Face cache: where it lies and what it holds of a model. Readers of model addresses need this much;
// filling it is hub/download.h.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace prentice {

// Whether `name` has the form ORG/NAME that the hub gives its models.
bool is_hub_name(std::string_view name);

// HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub; empty without a
// home folder.
std::filesystem::path hub_cache_folder();
// HF_HOME itself, where the token lies.
std::filesystem::path hub_home_folder();

// The folder of one model: blobs/HASH hold the bytes, snapshots/COMMIT link to them by file name, refs/NAME hold the
// commit that a branch or tag stands at.
struct HubModelFolder {
  std::filesystem::path root;

  std::filesystem::path blob(std::string_view hash) const { return root / "blobs" / hash; }
  std::filesystem::path snapshot(std::string_view commit) const { return root / "snapshots" / commit; }
  std::filesystem::path ref(std::string_view revision) const { return root / "refs" / revision; }
  // The commit that refs/REVISION names; empty when there is none.
  std::string commit_of(std::string_view revision) const;
  std::vector<std::filesystem::path> snapshots() const;  // all, by name
};

// models--ORG--NAME in the cache, whether it exists or not. `name` has the form of is_hub_name.
HubModelFolder hub_model_folder(std::string_view name);

// The snapshot that refs/main names; empty when the cache does not hold it, or it has no config of a model or adapter.
std::filesystem::path cached_snapshot(std::string_view name);

// Whether a path (canonical but for its last name) lies in a folder of such a form, in whatever cache.
bool is_in_hub_cache(const std::filesystem::path& path);

// The hint for a model that is not in the cache: how to fetch it, or which snapshots of other revisions are there.
std::string missing_model_hint(std::string_view name);

}  // namespace prentice
