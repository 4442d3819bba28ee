// What a run has handed over before it was killed, product by product, so that the same command does not make it again:
// records under .made/ in the run folder, until the run has ended. A product counts by what its record says of its
// bytes and of what it was made of, never by its name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "export/resume_options.h"
#include "proof/verify.h"
#include "serving/serving.h"

namespace prentice {

class ProductRecords {
 public:
  // `made_of`: hash of all that decides the products: recipe, inputs, program, trained weights.
  ProductRecords(std::filesystem::path out, std::string made_of) : out_(std::move(out)), made_of_(std::move(made_of)) {}

  // What was found of product `name` ("merged", "gguf/x.gguf") when it was checked; nullopt: it was not made of the
  // same, or does not stand under `out` byte for byte, which is read through.
  std::optional<Verification> find(const std::string& name) const;
  // For a product that lies at `made` and takes its name next. Returns the hashes of its files.
  FileHashes add(const std::string& name, const std::filesystem::path& made, const Verification& found) const;

  // Where a process that is killed leaves a half-written product, and the log that another goes on from.
  std::string nonce(const std::string& name) const { return key(name).substr(0, 12); }
  std::filesystem::path temporary(const std::string& name) const;
  ResumeOptions resume(const std::string& name) const;
  // Where what products are made of is kept as long as they are.
  std::filesystem::path ingredient(const std::string& name) const { return record(key(name) + "-" + name); }

 private:
  std::string key(const std::string& name) const;
  std::filesystem::path record(const std::string& name) const;

  std::filesystem::path out_;
  std::string made_of_;
};

// What an earlier process had made of these products before it was killed.
struct ResumeCounts {
  int64_t files = 0;    // whole
  int64_t tensors = 0;  // at the front of the others
  int64_t made = 0;     // tensors that this process has written
};

// At the end of a run: nobody goes on from here.
void forget_products(const std::filesystem::path& out);

}  // namespace prentice
