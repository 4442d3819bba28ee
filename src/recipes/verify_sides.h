// The two sides of `recipe: verify` before a weight loads: whether the one can be verified against the other at all.
#pragma once

#include <optional>

#include "artifact/open.h"
#include "config/schema.h"
#include "proof/witness.h"

namespace prentice {

enum class ArtifactKind { folder, gguf, peft, gguf_adapter };

struct VerifySides {
  ModelShape model;
  Artifact artifact;
  std::filesystem::path file;   // what is verified: a file, or the folder of a model or an adapter
  std::filesystem::path named;  // that, under the name that the user gave it, which may be a link
  ArtifactKind kind;
};

// verify.model alone. Errors: as below, all told of it.
ModelShape open_verify_model(const VerifySection&);

// Errors: `usage`, told of verify.model or verify.artifact; `model`; those of open_shape.
VerifySides open_verify_sides(const VerifySection&);

// The tokenizer that an adapter's folder brings; nullopt: none. Errors: UnreadableArtifact.
std::optional<Tokenizer> own_tokenizer(const std::filesystem::path& folder);

// Whether verify.llama_cpp is the address of a server.
bool names_server(const VerifySection&);

// What verify.llama_cpp names; none where it is not given. Errors: `usage`, told of the key, where there is nothing
// that llama.cpp reads, or no library or server of it.
CallWitness open_witness(const VerifySection&, const Opened& model, ArtifactKind);

}  // namespace prentice
