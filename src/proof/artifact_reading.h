// Whose fault it is that something cannot be read: of the artifact that is being verified, which is what verification
// finds, or of the model beside it, which is an error. Told by where the reading stands, not by what the message says.
#pragma once

#include <string>
#include <utility>

#include "core/error.h"

namespace prentice {

class UnreadableArtifact : public Error {
 public:
  explicit UnreadableArtifact(const Error& error) : Error(error.code(), error.diagnostics()) {}

  // All that is wrong with it, in the one line that a check has.
  std::string detail() const {
    std::string text;
    for (const auto& diagnostic : diagnostics()) text += (text.empty() ? "" : "; ") + to_string(diagnostic);
    return text;
  }
};

// Runs `read`, which opens nothing but the artifact. Errors: UnreadableArtifact in place of `model`; others as they
// are.
template <class Read>
auto reading_artifact(Read&& read) -> decltype(read()) {
  try {
    return std::forward<Read>(read)();
  } catch (const Error& error) {
    if (error.code() != ExitCode::model) throw;
    throw UnreadableArtifact(error);
  }
}

}  // namespace prentice
