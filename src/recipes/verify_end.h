// How a verification ends: what is printed, and what becomes of an artifact that failed.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "artifact/artifact.h"
#include "config/invocation.h"
#include "proof/check.h"

namespace prentice {

void print_checks(const std::vector<Check>&);

// What the artifact in `file` says of where it comes from, and of `model`, which it is verified against: asked with
// --provenance alone.
std::vector<Check> origin_checks(const std::filesystem::path& file, const Artifact& model, const Invocation&);

// The exit status. A file that failed is refused again wherever it still has its name (`artifact`: as the user named
// it, perhaps a link). It keeps the name where only what it says of other files is not so: those may have changed
// since; and in the Hugging Face cache, where every program looks for it under that name. Errors: `storage`.
int refuse_artifact(const std::filesystem::path& artifact, const std::vector<std::string>& reasons);

// What failed by the verify.json of a finished verification; nothing where there is none that can be read: the artifact
// must be verified again.
std::optional<std::vector<std::string>> reported_failures(const std::filesystem::path& out);

// Of a finished verification in `out`, which said `reasons`. What the file says of others is asked anew (`origin`):
// they may have changed.
int end_again(const std::filesystem::path& out, const std::filesystem::path& artifact, std::vector<std::string> reasons,
              const std::vector<Check>& origin, const Invocation&);

}  // namespace prentice
