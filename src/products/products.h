// What a run hands over: adapter, merged folder, GGUF files, each verified before it gets its name; the serving folder
// and the checksums. Shared by training runs and the kind `export`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "products/product_records.h"
#include "products/product_source.h"

namespace prentice {

// Of the kind `imatrix`, in its run folder.
inline constexpr const char* kImatrixFile = "imatrix.gguf";

struct Product {
  std::string name;  // "merged", "gguf/quickstart-Q8_0.gguf"
  int64_t bytes = 0;
};

struct Products {
  std::vector<Product> written;
  bool verified = false;               // everything that was checked passed
  std::string proven;                  // "container, tensors": what was asked of every product that was checked
  std::vector<std::string> merges;     // with which weights an adapter was merged that was trained on others
  std::vector<std::string> survivals;  // of an adapter in files of blocks, a sentence each
  std::vector<std::string> warnings;   // what the receiver must know, a sentence each
  FileHashes hashes;                   // of files of weights, by their names below the run
  ResumeCounts resumed;
};

// Writes what `section` asks for into `out`, replacing what stands there, and verify.json; then serve/ and SHA256SUMS.
// Each file or folder takes its place whole, by one rename, once it is verified: a run that is killed leaves the old
// one or the new one; the same run again keeps those that it had made, and goes on within the one that it was at.
// What is served is called `section.name`, or as the folder is. Errors: `gate` when a file fails its verification (it
// is renamed NAME.rejected); `storage`; `model` for what a format cannot carry.
Products write_products(const ProductSource&, const ExportSection& section, const std::filesystem::path& out);

// SHA256SUMS of everything a run made, over what stands in `out`; files in `known` are not read again.
void write_checksums(const std::filesystem::path& out, const FileHashes& known = {});
// A file that SHA256SUMS lists and that is not there with its hash, under its name or as what a later verification set
// aside (proof/rejected.h); nullopt: there is none. A folder without the list has no products to miss.
std::optional<std::string> changed_product(const std::filesystem::path& out);

// The parts of a proof, of those that people are told of, that checks named "PRODUCT: CHECK" hold for every product.
std::string proven_of_all(const std::vector<Check>& checks);

}  // namespace prentice
