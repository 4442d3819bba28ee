#include "core/error.h"

#include <algorithm>
#include <cctype>
#include <numeric>

namespace prentice {

namespace {

bool same_letter(char a, char b) {
  return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
}

// Insertions, deletions, substitutions and swaps of neighbours (Damerau 1964, restricted); a capital is its letter.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, last);
    std::swap(last, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same_letter(a[i - 1], b[j - 1]) ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) && same_letter(a[i - 2], b[j - 1]);
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row.back();
}

std::string joined(const std::vector<Diagnostic>& diagnostics) {
  std::string text;
  for (const auto& diagnostic : diagnostics) {
    if (!text.empty()) text += '\n';
    text += to_string(diagnostic);
  }
  return text;
}

}  // namespace

std::string to_string(const Diagnostic& diagnostic) {
  std::string text;
  if (!diagnostic.file.empty()) {
    text += diagnostic.file;
    if (diagnostic.line > 0) text += ':' + std::to_string(diagnostic.line);
    if (diagnostic.line > 0 && diagnostic.column > 0) text += ':' + std::to_string(diagnostic.column);
    text += ": ";
  }
  if (!diagnostic.key.empty()) text += diagnostic.key + ": ";
  return text + diagnostic.message;
}

Error::Error(ExitCode code, std::vector<Diagnostic> diagnostics)
    : code_(code), diagnostics_(std::move(diagnostics)), what_(joined(diagnostics_)) {}

Error::Error(ExitCode code, std::string message, std::string hint)
    : Error(code, std::vector<Diagnostic>{{.message = std::move(message), .hint = std::move(hint)}}) {}

void fail(ExitCode code, std::string message, std::string hint) {
  throw Error(code, std::move(message), std::move(hint));
}

void rethrow_with_context(const Error& error, ExitCode code, std::string_view context) {
  auto diagnostics = error.diagnostics();
  for (auto& diagnostic : diagnostics) {
    // No context: the message names the file itself, and only the code is to change. Nor is it named twice.
    const std::string prefix = std::string(context) + ": ";
    if (diagnostic.file.empty() && !context.empty() && !diagnostic.message.starts_with(prefix)) {
      diagnostic.message = prefix + diagnostic.message;
    }
  }
  throw Error(error.code() == ExitCode::malformed ? code : error.code(), std::move(diagnostics));
}

std::string closest_match(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string* best = nullptr;
  for (const auto& candidate : candidates) {  // a word that was cut off: Q4_K of Q4_K_M
    const bool is_whole = word.size() >= 3 && candidate.starts_with(word);
    if (is_whole && (best == nullptr || candidate.size() < best->size())) best = &candidate;
  }
  if (best != nullptr) return *best;
  size_t best_distance = std::max<size_t>(1, word.size() / 3) + 1;
  for (const auto& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) best = &candidate, best_distance = distance;
  }
  return best ? *best : "";
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

}  // namespace prentice
