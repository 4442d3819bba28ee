// All mistakes of one check at once: collected while looking, thrown together when the looking is done.
#pragma once

#include <string>
#include <vector>

#include "core/error.h"

namespace prentice {

class Mistakes {
 public:
  void add(std::string message, std::string hint = "");

  // Throws what was added, at most the first 20 and how many more there are; returns when there was none.
  void throw_if_any(ExitCode code) const;

 private:
  std::vector<Diagnostic> diagnostics_;
};

}  // namespace prentice
