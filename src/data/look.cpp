#include "data/look.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/utf8.h"
#include "data/formats.h"
#include "data/source.h"
#include "text/bridge.h"

namespace prentice {

namespace {

constexpr size_t kTypedRows = 100;  // looked through for a value that tells a column's type
constexpr int64_t kLookedRecords = 1000;

struct FieldCount {
  FieldLook look;
  size_t good = 0;  // records with a value of that kind that is not blank
};

void count_fields(const Json& record, const std::string& prefix, std::vector<FieldCount>& fields) {
  for (const auto& [name, value] : record.as_object()) {
    const std::string full = prefix + name;
    auto field = std::ranges::find(fields, full, [](const FieldCount& f) { return f.look.name; });
    if (field == fields.end()) field = fields.insert(fields.end(), FieldCount{{full, std::string(value.kind())}});
    if (field->look.kind == "null") field->look.kind = value.kind();
    field->good +=
        field->look.kind == value.kind() && !value.is_null() && !(value.is_string() && is_blank(value.as_string()));
    if (value.is_object() && prefix.empty()) count_fields(value, full + ".", fields);
  }
}

}  // namespace

DataLook look_at_data(const std::string& path) {
  Problems problems;
  const Source source = read_source(path, {.limit = kLookedRecords, .count = true}, problems);
  problems.throw_if_any();
  DataLook look{.kind = source.kind, .plain_text = source.plain_text, .records = source.total};
  std::vector<FieldCount> fields;
  for (const auto& [record, line, number] : source.records) {
    problems.collect({path, line, number}, [&, &record = record] {
      if (!record.is_object()) bad_record(fmt::format("expected an object, got {}", record.kind()));
      count_fields(record, "", fields);
    });
  }
  problems.throw_if_any();
  look.format = known_format(source.records.front().value);
  for (auto& [field, good] : fields) {
    field.everywhere = good == source.records.size();
    look.fields.push_back(std::move(field));
  }
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
