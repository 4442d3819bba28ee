// What the proofs of a GGUF file and of a folder share (proof/verify_artifact.h): for their two files alone.
#pragma once

#include <string>
#include <vector>

#include "proof/update_proof.h"
#include "proof/verify_artifact.h"

namespace prentice {

std::vector<Check> with_update(std::vector<Check> checks, const UpdateProof& update);

// `type`: of the file, for the limits. `declared`: the file type that a GGUF file calls itself, "" of a folder.
LogitSides sides_of(const Trained& trained, const WeightReader& made, const std::string& type,
                    const std::string& declared);

}  // namespace prentice
