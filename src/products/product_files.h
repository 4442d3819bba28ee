// The files of weights that a run hands over: merged folder, GGUF models, GGUF adapter. Each is written beside its
// place, verified, and then takes its name; what a killed run has left of them is gone on from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "products/product_records.h"
#include "products/product_source.h"
#include "proof/verify.h"

namespace prentice {

inline constexpr const char* kAdapterFile = "gguf/adapter.gguf";

struct ProductFiles {
  Verification found;                   // of all; a check's name begins with its product's
  std::vector<std::string> rejected;    // products that failed, and are kept as NAME.rejected
  std::vector<std::string> gguf_files;  // models, by their names below gguf/
  bool gguf_adapter = false;
  std::vector<std::string> merges;    // how far merging is from what was trained, where that is another model
  std::vector<std::string> warnings;  // of the importance matrix
  FileHashes hashes;                  // of those made now, by their names below the run
  ResumeCounts resumed;
};

// What `section` asks for, models under `name`. Errors: `storage`, before anything is written where it does not fit the
// disk beside what stands there; `model` for what a format cannot carry.
ProductFiles make_product_files(const ProductSource&, const ExportSection& section, const std::string& name,
                                const std::filesystem::path& out);

// Bytes of a file, or of everything below a folder.
int64_t size_on_disk(const std::filesystem::path& path);

}  // namespace prentice
