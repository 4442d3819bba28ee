// What a run hands over: adapter, merged folder, GGUF files, each verified before it gets its name; the serving folder
// and the checksums. Shared by training runs and the kind `export`.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "adapter/qat.h"
#include "config/schema.h"
#include "core/batch.h"
#include "export/hf_folder.h"
#include "export/weight_source.h"
#include "io/importance_matrix.h"
#include "model/spec.h"
#include "proof/check.h"
#include "proof/weight_reader.h"
#include "recipes/report.h"
#include "run/origin.h"
#include "serving/serving.h"
#include "text/tokenizer.h"

namespace prentice {

// Of the kind `imatrix`, in its run folder.
inline constexpr const char* kImatrixFile = "imatrix.gguf";

struct ProductSource {
  const ModelSpec& spec;
  const Tokenizer& tokenizer;
  // Of merged weights against what was trained, where it is in memory; may be empty.
  std::function<Check(const WeightSource&, const HfFolderOptions&)> compare = {};
  std::function<WeightSource()> weights;  // adapter folded in; asked for only where whole weights are written
  bool in_memory = false;                 // they are in no file that `origin` or `adapter` tells of
  // What export.imatrix names, and what must be said of it; asked for only where that key is set. What must be
  // collected for it is kept in the file `kept`.
  std::function<std::pair<ImportanceMatrix, std::vector<std::string>>(const std::filesystem::path& kept)> importance =
      {};
  // What exports are run on to be proven, in sequences of at most `context` tokens; not set: they are not run.
  std::function<std::vector<Batch>(int64_t context)> proof_tokens = {};
  // Of a run with adapter.qat: the file type, and what its logits are made of, which only that file must give again.
  std::string served_type = {};
  std::optional<WeightReader> served_weights = {};
  ServedTypes served_types = {};     // where `served_weights` is not in memory: how the weights make it
  std::filesystem::path companions;  // folder whose tokenizer and generation files go along
  FileTexts own_files;               // in place of them, or beside them
  std::filesystem::path adapter;     // PEFT folder, or empty
  const ModelSpec& adapted;          // the model whose modules it names
  std::string base_model;            // as the user named it
  std::filesystem::path base_file;   // the base where it is a GGUF file, or empty
  FileTexts licences;                // of the base, for those who serve
  FileOrigin origin;                 // goes into the metadata of what is written
  std::vector<int32_t> stop_ids;
  bool raw_text = false;  // trained on raw text although the model has a template
  int64_t max_length = 0;
  // Made when all is written. Without cases: nothing was asked.
  std::function<SelfTest()> self_test = [] { return SelfTest(); };
  std::string computed_in = "F32";  // the coarsest type in which it answered: F32, F16, BF16 or NF4
  std::vector<std::pair<std::string, std::string>> training;  // for the model cards: "learning rate" -> "0.0002"
  std::vector<std::pair<std::string, std::string>> results;   // "accuracy" -> "0.935"
  std::function<void(const std::string&)> say = [](const std::string&) {};  // what a killed run has left
};

struct Product {
  std::string name;  // "merged", "gguf/quickstart-Q8_0.gguf"
  int64_t bytes = 0;
};

// What an earlier process had made of these products before it was killed.
struct ResumeCounts {
  int64_t files = 0;    // whole
  int64_t tensors = 0;  // at the front of the others
  int64_t made = 0;     // tensors that this process has written
};

struct Products {
  std::vector<Product> written;
  bool verified = false;               // everything that was checked passed
  std::string proven;                  // "container, tensors": what was asked of every product that was checked
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
// aside (recipes/rejected.h); nullopt: there is none. A folder without the list has no products to miss.
std::optional<std::string> changed_product(const std::filesystem::path& out);

// Weights and GGUF files below `folders` with bytes and hashes, named from `root`: for the page of a run.
ReportTable files_table(const std::filesystem::path& root, const std::vector<std::filesystem::path>& folders);

// The chat template that products carry in place of what stands in the tokenizer's folder; nullopt: that one.
std::optional<std::string> replaced_template(const Tokenizer&);

// The parts of a proof, of those that people are told of, that checks named "PRODUCT: CHECK" hold for every product.
std::string proven_of_all(const std::vector<Check>& checks);

// Bytes of a file, or of everything below a folder.
int64_t size_on_disk(const std::filesystem::path& path);

}  // namespace prentice
