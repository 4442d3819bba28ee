#include "cli/sniff.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "io/file.h"
#include "io/json.h"
#include "text/bridge.h"

namespace prentice {

namespace {

// The fields of the first line, quotes honoured.
std::vector<std::string> header_fields(std::string_view text, char separator) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      if (quoted && i + 1 < text.size() && text[i + 1] == '"') {
        fields.back() += text[++i];
      } else {
        quoted = !quoted;
      }
    } else if (!quoted && c == separator) {
      fields.emplace_back();
    } else if (!quoted && (c == '\n' || c == '\r')) {
      break;
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

// Lines with content; a quoted line break in a table does not start a row.
int64_t count_rows(std::string_view text, bool table) {
  int64_t rows = 0;
  bool quoted = false, content = false;
  for (const char c : text) {
    if (table && c == '"') quoted = !quoted;
    if (c == '\n' && !quoted) {
      rows += content;
      content = false;
    } else if (!std::isspace(static_cast<unsigned char>(c))) {
      content = true;
    }
  }
  return rows + content;
}

std::vector<std::string> keys_of(const Json& record) {
  std::vector<std::string> keys;
  if (!record.is_object()) fail(ExitCode::malformed, "expected an object, got " + std::string(record.kind()));
  for (const auto& [key, value] : record.as_object()) keys.push_back(key);
  return keys;
}

DataLook look_at_json_lines(std::string_view text) {
  const size_t start = text.find_first_not_of(" \r\n\t");
  if (start == text.npos) fail(ExitCode::malformed, "the file is empty");
  const size_t end = std::min(text.find('\n', start), text.size());
  return {"JSONL", keys_of(Json::parse(text.substr(start, end - start))), count_rows(text, false)};
}

DataLook look_at_parquet(const std::filesystem::path& path) {
  ParquetRows rows(path);
  const std::string first = rows.next(1);
  if (first.empty()) fail(ExitCode::malformed, "the file holds no records");
  return {"Parquet", keys_of(Json::parse(first)), rows.count()};
}

}  // namespace

DataLook look_at_data(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  std::string_view text = file.text();
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const std::string extension = path.extension().string();
  return with_context(ExitCode::data, path.string(), [&]() -> DataLook {
    if (extension == ".parquet" || text.starts_with("PAR1")) return look_at_parquet(path);
    if (extension == ".csv" || extension == ".tsv") {
      const bool tabs = extension == ".tsv";
      return {tabs ? "TSV" : "CSV", header_fields(text, tabs ? '\t' : ','),
              std::max<int64_t>(0, count_rows(text, true) - 1)};
    }
    if (extension == ".json" && text.find_first_not_of(" \r\n\t") != text.npos &&
        text[text.find_first_not_of(" \r\n\t")] == '[') {
      const Json list = Json::parse(text);
      if (list.as_array().empty()) fail(ExitCode::malformed, "the list is empty");
      return {"JSON", keys_of(list.as_array().front()), static_cast<int64_t>(list.as_array().size())};
    }
    if (extension == ".jsonl" || extension == ".json") return look_at_json_lines(text);
    return {"text", {}, 0};
  });
}

}  // namespace prentice
