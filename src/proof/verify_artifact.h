// Proof of any pair: a file that somebody made of a model, against that model. What proof/verify.h asks of files of
// our own, and what it cannot ask: how the file reads by itself, and what it answers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/batch.h"
#include "export/weight_source.h"
#include "proof/logit_limits.h"
#include "proof/verify.h"
#include "proof/weight_reader.h"
#include "proof/witness.h"
#include "text/tokenizer.h"

namespace prentice {

// The model that was trained.
struct Trained {
  const WeightSource& weights;  // adapter folded in
  const Tokenizer& tokenizer;
  std::vector<int32_t> stop_ids;
  std::filesystem::path base = {};             // its folder or GGUF file
  const WeightSource* base_weights = nullptr;  // without the adapter, where there is one
  // What its logits are made of, where that is not `weights`: of a model that was trained for its GGUF file of one type
  // (adapter.qat), which is then the only artifact that answers so.
  std::optional<WeightReader> logit_weights = {};
  std::string logit_weights_type = {};
};

// What it is proven on.
struct ProofRules {
  std::vector<Batch> tokens;       // that both are run on; empty: no logits
  std::vector<std::string> texts;  // beside the corpus of tokenizers
  GivenLimits limits;
  int threads = 1;                                                          // of the tokenizers
  std::function<void()> before_layer = [] {};                               // may throw
  std::function<void(const std::string&)> say = [](const std::string&) {};  // what is looked at now
  CallWitness witness = {};  // asked of GGUF files that have passed what goes before; none = nobody
};

// The last part, for a file that has passed the others: what it computes.
struct LogitSides {
  WeightReader model, made;
  const std::vector<int32_t>& stop_ids;
  std::string type;                  // of the file, for the limits
  const Witness* witness = nullptr;  // that has the file
  std::string witness_type = {};     // where the limits of what it runs are those of another type
};
void add_logits(Verification&, const std::string& artifact, const LogitSides&, const ProofRules&);

// Container, tensor set, metadata, vocabulary, token ids, template, values, logits. What cannot be asked any more where
// an earlier check fails is not asked. Errors: `model` for a container, or metadata, that cannot be read.
Verification verify_gguf_artifact(const std::filesystem::path& file, const Trained&, const ProofRules&);
// The same of a Hugging Face folder. `stop_ids`: the folder's own.
Verification verify_folder_artifact(const std::filesystem::path& folder, const std::vector<int32_t>& stop_ids,
                                    const Trained&, const ProofRules&);

// Of a file of our own that has passed proof/verify.h: how it reads by itself and what it answers, added to what was
// found, under the name `artifact`.
void prove_gguf(Verification&, const std::string& artifact, const std::filesystem::path& file, const Trained&,
                const ProofRules&);
void prove_folder(Verification&, const std::string& artifact, const std::filesystem::path& folder, const Trained&,
                  const ProofRules&);

}  // namespace prentice
