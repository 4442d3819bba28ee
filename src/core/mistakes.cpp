#include "core/mistakes.h"

#include <utility>

namespace prentice {

namespace {

constexpr size_t kMostShown = 20;

}  // namespace

void Mistakes::add(std::string message, std::string hint) {
  diagnostics_.push_back({.message = std::move(message), .hint = std::move(hint)});
}

void Mistakes::throw_if_any(ExitCode code) const {
  if (diagnostics_.empty()) return;
  std::vector<Diagnostic> shown = diagnostics_;
  if (shown.size() > kMostShown) {
    shown.resize(kMostShown);
    shown.push_back({.message = "and " + std::to_string(diagnostics_.size() - kMostShown) + " more"});
  }
  throw Error(code, std::move(shown));
}

}  // namespace prentice
