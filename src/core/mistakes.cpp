#include "core/mistakes.h"

#include <fmt/format.h>

#include <utility>

#include "core/error.h"

namespace prentice {

void Mistakes::add(Diagnostic diagnostic) {
  ++count_;
  if (shown_.size() < kShown) shown_.push_back(std::move(diagnostic));
}

void Mistakes::add(std::string message, std::string hint) {
  add(Diagnostic{.message = std::move(message), .hint = std::move(hint)});
}

void Mistakes::merge(const Mistakes& other) {
  for (const auto& diagnostic : other.shown_) {
    if (shown_.size() < kShown) shown_.push_back(diagnostic);
  }
  count_ += other.count_;
}

void Mistakes::throw_if_any(ExitCode code) const {
  if (empty()) return;
  auto diagnostics = shown_;
  const int64_t more = count_ - static_cast<int64_t>(shown_.size());
  if (more > 0)
    diagnostics.push_back({.message = fmt::format("and {} more, {} in all", with_commas(more), with_commas(count_))});
  throw Error(code, std::move(diagnostics));
}

}  // namespace prentice
