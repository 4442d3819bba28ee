// What a GGUF file says of itself beside its tensors: where it ends, and of which types it is.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "export/gguf_model.h"
#include "io/gguf.h"
#include "proof/check.h"

namespace prentice {

// "end of file": nothing stands behind the last tensor but what fills it up to the alignment.
Check end_check(const std::filesystem::path& file);

// "types and shapes", failed, of a file with a tensor of a type whose values nothing here reads; else none.
std::optional<Check> unread_type_check(const GgufReader&);

// "file type": general.file_type is that of the file's mix. A mix of somebody's own may be called by any type that one
// of its matrices has; a file that says nothing, or what nothing here knows, is not told off unless it is a mix that is
// known. `plans`: of the tensors of the file, whose sources are those of `weights`.
Check file_type_check(const GgufReader& file, const WeightSource& weights, const std::vector<GgufTensorPlan>& plans);

}  // namespace prentice
