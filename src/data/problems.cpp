#include "data/problems.h"

#include <fmt/format.h>

namespace prentice {

void Problems::add(Diagnostic diagnostic) {
  ++count_;
  if (shown_.size() < kShown) shown_.push_back(std::move(diagnostic));
}

Diagnostic Problems::placed(Diagnostic diagnostic, const Place& place) {
  if (place.inside && diagnostic.line == 1) diagnostic.column += static_cast<int>(place.indent);
  if (!place.inside || diagnostic.line == 0) diagnostic.column = 0;
  const int inner = place.inside && diagnostic.line > 0 ? diagnostic.line - 1 : 0;
  diagnostic.line = static_cast<int>(place.line) + inner;
  diagnostic.file = place.file;
  return diagnostic;
}

void Problems::merge(const Problems& other) {
  for (const auto& diagnostic : other.shown_) {
    if (shown_.size() < kShown) shown_.push_back(diagnostic);
  }
  count_ += other.count_;
}

void Problems::throw_if_any() const {
  if (empty()) return;
  auto diagnostics = shown_;
  const int64_t more = count_ - static_cast<int64_t>(shown_.size());
  if (more > 0)
    diagnostics.push_back({.message = fmt::format("and {} more, {} in all", with_commas(more), with_commas(count_))});
  throw Error(ExitCode::data, std::move(diagnostics));
}

void bad_record(std::string message, std::string hint) {
  fail(ExitCode::malformed, std::move(message), std::move(hint));
}

std::string with_commas(int64_t number) {
  const std::string digits = std::to_string(number);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    const bool group_begins = (digits.size() - i) % 3 == 0 && i > 0 && digits[i - 1] != '-';
    if (group_begins) out += ',';
    out += digits[i];
  }
  return out;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

}  // namespace prentice
