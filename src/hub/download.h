// A model from the hub into the cache, in the layout of huggingface_hub: only the files a model needs, every one
// verified, and visible under its revision's name only once all are there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "hub/remote.h"

namespace prentice {

struct DownloadProgress {
  std::string file;  // that is being fetched
  size_t files_done = 0, files = 0;
  uint64_t bytes_done = 0, bytes = 0;  // of all files
};

struct Downloaded {
  std::filesystem::path snapshot;  // the model folder
  std::string commit;
  std::vector<HubFile> files;
  uint64_t bytes = 0, fetched_bytes = 0;  // of all files; that arrived now
};

// Fetches ORG/NAME at a branch, tag or commit. Killed and started again it continues. Errors: `usage` when there is no
// such model, or no right to it; `model` when the repository holds no weights that are read here (pickles and GGUF
// alone), or a file does not have its hash; `storage` when the disk is full or the connection is lost.
Downloaded download_model(const std::string& name, const std::string& revision, const HubCallbacks& callbacks,
                          const std::function<void(const DownloadProgress&)>& progress);

}  // namespace prentice
