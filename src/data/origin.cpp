#include "data/origin.h"

#include <fmt/format.h>

#include <utility>

namespace prentice {

std::string to_string(const Origin& origin) {
  const auto line = origin.line > 0 ? fmt::format(":{}", origin.line) : "";
  const auto record = origin.record > 0 ? fmt::format(", record {}", origin.record) : "";
  return origin.file + line + record;
}

Diagnostic mistake_at(const Origin& origin, std::string message, std::string hint) {
  if (origin.record > 0) message = fmt::format("record {}: {}", origin.record, message);
  return {std::move(message), std::move(hint), origin.file, static_cast<int>(origin.line)};
}

}  // namespace prentice
