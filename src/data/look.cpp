#include "data/look.h"

#include <fmt/format.h>

#include "data/formats.h"
#include "data/source.h"

namespace prentice {

DataLook look_at_data(const std::string& path) {
  Problems problems;
  const Source source = read_source(path, {.limit = 1, .count = true}, problems);
  problems.throw_if_any();
  DataLook look{.kind = source.kind, .plain_text = source.plain_text, .records = source.total};
  const auto& [first, line, number] = source.records.front();
  problems.collect({path, line, number}, [&] {
    if (!first.is_object()) bad_record(fmt::format("expected an object, got {}", first.kind()));
  });
  problems.throw_if_any();
  look.format = known_format(first);
  for (const auto& [name, value] : first.as_object()) look.members.push_back(name);
  return look;
}

}  // namespace prentice
