// What the products of a run are made of and proven by: the trained model, and what is known of it. Shared by training
// runs and the kind `export`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "adapter/qat.h"
#include "core/batch.h"
#include "export/hf_folder.h"
#include "export/weight_source.h"
#include "io/importance_matrix.h"
#include "model/spec.h"
#include "proof/check.h"
#include "proof/weight_reader.h"
#include "run/origin.h"
#include "serving/serving.h"
#include "text/tokenizer.h"

namespace prentice {

struct ProductSource {
  const ModelSpec& spec;
  const Tokenizer& tokenizer;
  // Of merged weights against what was trained on four bits; empty where that are the merged ones.
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

}  // namespace prentice
