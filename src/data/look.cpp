#include "data/look.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/formats.h"
#include "data/source.h"
#include "text/bridge.h"

namespace prentice {

namespace {

constexpr size_t kTypedRows = 100;  // looked through for a value that tells a column's type

}  // namespace

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

ParquetLook look_at_parquet(const std::string& path) {
  return with_context(ExitCode::data, path, [&] {
    ParquetRows reader(path);
    const std::string text = reader.next(kTypedRows);
    ParquetLook look{.rows = reader.count(), .columns = {}};
    auto& columns = look.columns;
    for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const Json row = Json::parse(std::string_view(text).substr(begin, end - begin));
      for (const auto& [name, value] : row.as_object()) {
        auto column = std::ranges::find(columns, name, &std::pair<std::string, std::string>::first);
        if (column == columns.end()) column = columns.insert(columns.end(), {name, "null"});
        if (column->second == "null") column->second = value.kind();
      }
    }
    return look;
  });
}

}  // namespace prentice
