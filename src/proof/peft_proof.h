// Proof of a PEFT folder: an adapter that was handed over, against the adapter that was trained.
#pragma once

#include <filesystem>
#include <optional>

#include "proof/adapter_proof.h"
#include "proof/verify_artifact.h"
#include "text/tokenizer.h"

namespace prentice {

// Container, modules, scales, values (each is the trained one, rounded to the folder's type), its tokenizer where the
// folder brings one (`own`), logits. Errors: UnreadableArtifact for a folder that cannot be read or does not fit the
// model; those of the base and of the trained adapter.
Verification verify_peft_artifact(const std::filesystem::path& folder, const std::optional<Tokenizer>& own,
                                  const TrainedAdapter&, const ProofRules&);

}  // namespace prentice
