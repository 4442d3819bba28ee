#include "recipes/verify_sides.h"

#include <fmt/format.h>

#include "core/error.h"
#include "io/gguf.h"

namespace prentice {

namespace {

[[noreturn]] void refuse(std::string_view key, const std::string& address, std::string_view why, std::string hint) {
  fail(ExitCode::usage, fmt::format("{}: {} {}", key, address, why), std::move(hint));
}

}  // namespace

VerifySides open_verify_sides(const VerifySection& section) {
  VerifySides sides{.model = open_shape({.path = section.model}, "verify.model"),
                    .artifact = resolve_artifact(section.artifact, "verify.artifact")};
  const Artifact& model = sides.model.artifact;
  require_weights("verify.model", model, "name the folder of a model, or a run");
  if (is_gguf_file(model.base) && !is_gguf_file(sides.artifact.base)) {
    refuse("verify.model", section.model, "is a GGUF file, of which no folder is made",
           "name the model that the file was made of");
  }
  if (sides.model.spec.labels > 0) {
    refuse("verify.model", section.model, "is a reward model, which gives a score and no words",
           "`recipe: compare` with eval.tasks=[preference] compares scores");
  }
  require_weights("verify.artifact", sides.artifact, "name a GGUF file or a merged folder");
  if (!sides.artifact.adapter.empty()) {
    refuse("verify.artifact", section.artifact, "is an adapter on a base",
           "name what was made of them: a merged folder, a GGUF file, or the adapter as a GGUF file");
  }
  return sides;
}

}  // namespace prentice
