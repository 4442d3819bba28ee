// Proof that an exported file holds what it was made from: read again from the disk by the strict readers and compared
// tensor by tensor. Separate from the writers so that a mistake there cannot hide here.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "export/gguf_adapter.h"
#include "export/gguf_model.h"
#include "export/hf_folder.h"
#include "proof/check.h"
#include "proof/logit_proof.h"

namespace prentice {

class Json;  // io/json.h

struct Verification {
  std::vector<Check> checks;
  std::map<std::string, DeltaSurvival> survivals;  // by artifact, of those that an adapter changes
  std::map<std::string, LogitProof> logits;        // by artifact, of those whose logits were compared
  bool passed() const;
  bool add(std::vector<Check>);  // whether they all passed
};

// Container, tensor set, types and shapes, values within the rounding of the type, config and companion files.
Verification verify_hf_folder(const std::filesystem::path& folder, const WeightSource&, const ModelSpec&,
                              const std::filesystem::path& companions, const HfFolderOptions&);

// Container, metadata, token list and chat template, tensor set, types and shapes, values within the rounding.
Verification verify_gguf(const std::filesystem::path& path, const WeightSource&, const ModelSpec&, const Tokenizer&,
                         const GgufOptions&);

// Of a GGUF adapter made of a PEFT folder: container, architecture and scale, tensor set, types and shapes, values
// within the rounding.
Verification verify_gguf_adapter(const std::filesystem::path& path, const std::filesystem::path& folder,
                                 const ModelSpec&, const GgufAdapterOptions&);

// How it ended, in a line.
std::string verdict(const Verification&);

// verify.json (schema 1). Several artifacts of one run share the file: a check's name begins with the artifact's. Names
// and details hold what strangers' files say: here and below they are made printable (core/utf8.h).
Json report_of(const Verification&);
std::string verification_json(const Verification&);

// "NAME: DETAIL" of each check that failed.
std::vector<std::string> failures(const Verification&);

}  // namespace prentice
