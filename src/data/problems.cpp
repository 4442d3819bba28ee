#include "data/problems.h"

namespace prentice {

Diagnostic Problems::placed(Diagnostic diagnostic, const TextPlace& place) {
  if (diagnostic.line == 1) diagnostic.column += static_cast<int>(place.indent);
  if (diagnostic.line == 0) diagnostic.column = 0;
  const int inner = diagnostic.line > 0 ? diagnostic.line - 1 : 0;
  diagnostic.line = static_cast<int>(place.line) + inner;
  diagnostic.file = place.file;
  return diagnostic;
}

void bad_record(std::string message, std::string hint) {
  fail(ExitCode::malformed, std::move(message), std::move(hint));
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

}  // namespace prentice
