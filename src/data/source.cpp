#include "data/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "data/csv.h"
#include "data/parallel.h"
#include "data/slices.h"
#include "data/utf8_fault.h"
#include "io/file.h"
#include "text/bridge.h"

namespace prentice {

namespace {

constexpr std::string_view kParquetMagic = "PAR1", kEncryptedParquetMagic = "PARE";
constexpr size_t kParquetBatch = 4096;  // rows
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

enum class FileKind { json_lines, json, csv, tsv, text };

bool is_parquet(const std::string& path, std::string_view bytes) {
  return bytes.starts_with(kParquetMagic) || bytes.starts_with(kEncryptedParquetMagic) ||
         std::filesystem::path(path).extension() == ".parquet";
}

// A file's bytes after the byte-order mark, and the offsets in it that are no UTF-8 (one a line).
struct Text {
  const std::string& path;
  std::string_view bytes;
  std::vector<size_t> faults;

  bool is_faulty(const Slice& slice) const {
    const auto fault = std::lower_bound(faults.begin(), faults.end(), slice.begin);
    return fault != faults.end() && *fault < slice.end;
  }
};

void refuse_foreign(const std::string& path, std::string_view bytes) {
  struct Foreign {
    std::string_view magic, what, hint;
  };
  constexpr std::string_view kUnpack = "unpack it first";
  constexpr Foreign kForeign[] = {
      {"ARROW1", "an Arrow file, which is not read", "write it as JSON Lines first"},
      {"\x1f\x8b", "compressed (gzip)", kUnpack},
      {"\x28\xb5\x2f\xfd", "compressed (zstd)", kUnpack},
      {"PK\x03\x04", "a ZIP file (or a spreadsheet)", "save it as CSV or unpack it first"},
      {"\xff\xfe", "UTF-16 text, not UTF-8", "save it as UTF-8"},
      {"\xfe\xff", "UTF-16 text, not UTF-8", "save it as UTF-8"},
  };
  for (const auto& foreign : kForeign) {
    if (!bytes.starts_with(foreign.magic)) continue;
    throw Error(
        ExitCode::data,
        {{.message = fmt::format("the file is {}", foreign.what), .hint = std::string(foreign.hint), .file = path}});
  }
}

FileKind kind_of(const std::string& path, std::string_view bytes) {
  std::string extension = std::filesystem::path(path).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (extension == ".csv") return FileKind::csv;
  if (extension == ".tsv" || extension == ".tab") return FileKind::tsv;
  if (extension == ".txt" || extension == ".text" || extension == ".md") return FileKind::text;
  const auto first = bytes.find_first_not_of(" \t\r\n");
  const char opening = first == std::string_view::npos ? '\0' : bytes[first];
  if (opening == '[') return FileKind::json;
  if (extension == ".jsonl" || extension == ".ndjson") return FileKind::json_lines;
  if (extension != ".json" && opening != '{') return FileKind::text;
  // A .json file of many objects is JSON Lines: something stands behind the first one.
  const auto layout = json_layout(bytes);
  const bool more = layout && bytes.find_first_not_of(" \t\r\n", layout->end) != std::string_view::npos;
  return more ? FileKind::json_lines : FileKind::json;
}

void find_faults(Text& text, Problems& problems) {
  int64_t line = 1;
  size_t counted = 0;
  for (size_t from = 0;;) {
    const auto fault = find_utf8_fault(text.bytes, from);
    if (!fault) return;
    line += std::count(text.bytes.begin() + counted, text.bytes.begin() + fault->offset, '\n');
    counted = fault->offset;
    problems.add({.message = fmt::format("not UTF-8 at byte {}: {}", fault->offset, fault->reason),
                  .hint = fault->reason.ends_with("(CESU-8)")
                              ? "repair the file in Python: bytes.decode('utf-8', 'surrogatepass').encode('utf-16', "
                                "'surrogatepass').decode('utf-16')"
                              : "save the file as UTF-8",
                  .file = text.path,
                  .line = static_cast<int>(line)});
    text.faults.push_back(fault->offset);
    from = text.bytes.find('\n', fault->offset);
    if (from == std::string_view::npos) return;
  }
}

// Parses one slice; a mistake keeps the file's own line and column.
std::optional<Json> parse_slice(const Text& text, const Slice& slice, Problems& problems) {
  std::optional<Json> value;
  problems.collect_inside({text.path, slice.line, slice.begin - slice.line_begin},
                          [&] { value = Json::parse(text.bytes.substr(slice.begin, slice.end - slice.begin)); });
  return value;
}

std::vector<Record> parse_slices(const Text& text, std::vector<Slice> slices, const SourceOptions& options,
                                 Problems& problems) {
  if (options.limit > 0 && static_cast<int64_t>(slices.size()) > options.limit) slices.resize(options.limit);
  const auto count = static_cast<int64_t>(slices.size());
  std::vector<Record> records(count);
  std::vector<char> parsed(count, 0);
  std::vector<Problems> found(std::max(options.threads, 1));
  parallel_ranges(count, options.threads, [&](int64_t chunk, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      records[i].line = slices[i].line;
      records[i].number = i + 1;
      if (text.is_faulty(slices[i])) continue;
      if (auto value = parse_slice(text, slices[i], found[chunk])) {
        records[i].value = std::move(*value);
        parsed[i] = 1;
      }
    }
  });
  for (const auto& part : found) problems.merge(part);
  int64_t kept = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (parsed[i]) std::swap(records[kept++], records[i]);
  }
  records.resize(kept);
  return records;
}

void read_lines(const Text& text, const SourceOptions& options, Problems& problems, Source& source) {
  auto slices = line_slices(text.bytes);
  source.total = static_cast<int64_t>(slices.size());
  source.records = parse_slices(text, std::move(slices), options, problems);
  for (auto& record : source.records) record.number = 0;  // the line tells them apart
}

// An array whose brackets, commas or strings do not fit: every record that is at fault. False when that shows none.
bool read_broken_array(const Text& text, const SourceOptions& options, Problems& problems, Source& source) {
  auto array = cut_broken_array(text.bytes);
  const int64_t before = problems.count();
  for (const auto& place : array.unseparated) {
    problems.add({.message = "expected a comma between this record and the one before it",
                  .file = text.path,
                  .line = static_cast<int>(place.line)});
  }
  source.total = static_cast<int64_t>(array.elements.size());
  source.records = parse_slices(text, std::move(array.elements), options, problems);
  return problems.count() > before;
}

void read_json(const Text& text, const SourceOptions& options, Problems& problems, Source& source) {
  const auto layout = json_layout(text.bytes);
  if (!layout && read_broken_array(text, options, problems, source)) return;
  const bool trailing = layout && text.bytes.find_first_not_of(" \t\r\n", layout->end) != std::string_view::npos;
  if (!layout || trailing) {
    const auto whole = parse_slice(text, {0, text.bytes.size(), 1}, problems);
    if (whole)
      problems.add({.message = fmt::format("expected an array of records, got {}", whole->kind()), .file = text.path});
    return;
  }
  for (const auto& other : layout->others) parse_slice(text, other, problems);
  if (layout->arrays.size() == 1) {
    source.total = static_cast<int64_t>(layout->arrays[0].second.size());
    source.records = parse_slices(text, layout->arrays[0].second, options, problems);
    return;
  }
  std::vector<std::string> names;
  for (const auto& [name, elements] : layout->arrays) names.push_back(name);
  problems.add({.message = names.empty() ? "expected an array of records, got an object without one"
                                         : fmt::format("expected one array of records, got an object with {}: {}",
                                                       names.size(), joined(names)),
                .hint = "write the records as one JSON array, or one to a line as .jsonl",
                .file = text.path});
}

void read_table(const Text& text, char separator, const SourceOptions& options, Problems& problems, Source& source) {
  auto table = read_csv(text.bytes, {separator, options.limit, options.count}, text.path, problems);
  source.total = table.total;
  source.records.reserve(table.rows.size());
  for (auto& row : table.rows) {
    Json::Object object;
    object.reserve(table.header.size());
    for (size_t i = 0; i < table.header.size(); ++i) {
      object.emplace_back(table.header[i], Json(std::move(row.fields[i])));
    }
    source.records.push_back({Json(std::move(object)), row.line, 0});
  }
}

// Rows become records as the lines of a JSON Lines file do.
Source read_parquet(const std::string& path, const SourceOptions& options, Problems& problems) {
  Source source{.path = path, .kind = "Parquet"};
  std::vector<Record>& records = source.records;
  const int64_t before = problems.count();
  problems.collect({path}, [&] {
    ParquetRows rows(path);
    source.total = rows.count();
    while (options.limit == 0 || static_cast<int64_t>(records.size()) < options.limit) {
      const auto left = static_cast<size_t>(options.limit) - records.size();
      const std::string lines = rows.next(options.limit == 0 ? kParquetBatch : std::min(kParquetBatch, left));
      if (lines.empty()) break;
      Text text{path, lines, {}};
      for (auto& record : parse_slices(text, line_slices(lines), {.threads = options.threads}, problems)) {
        records.push_back({std::move(record.value), 0, static_cast<int64_t>(records.size()) + 1});
      }
    }
  });
  if (records.empty() && problems.count() == before)
    problems.add({.message = "the file holds no records", .file = path});
  return source;
}

void read_text(const Text& text, const SourceOptions& options, Source& source) {
  source.total = 1;
  if (!options.lines) {
    source.records.push_back({Json(Json::Object{{"text", Json(text.bytes)}}), 1, 0});
    return;
  }
  const auto slices = line_slices(text.bytes);
  source.total = static_cast<int64_t>(slices.size());
  for (const auto& slice : slices) {
    if (options.limit > 0 && static_cast<int64_t>(source.records.size()) == options.limit) break;
    auto line = text.bytes.substr(slice.begin, slice.end - slice.begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    source.records.push_back({Json(Json::Object{{"text", Json(line)}}), slice.line, 0});
  }
}

}  // namespace

Source read_source(const std::string& path, const SourceOptions& options, Problems& problems) {
  const auto file = MappedFile::open(path);
  if (is_parquet(path, file.text())) return read_parquet(path, options, problems);
  refuse_foreign(path, file.text());
  Text text{path, file.text(), {}};
  if (text.bytes.starts_with(kByteOrderMark)) text.bytes.remove_prefix(kByteOrderMark.size());
  Source source{.path = path};
  if (text.bytes.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    problems.add({.message = "the file holds no records", .file = path});
    return source;
  }
  find_faults(text, problems);
  const auto kind = kind_of(path, text.bytes);
  const bool is_json = kind == FileKind::json || kind == FileKind::json_lines;
  if (!is_json && text.bytes.find('\0') != std::string_view::npos) {
    problems.add(
        {.message = fmt::format("expected text, got a zero byte at offset {}", text.bytes.find('\0')), .file = path});
    return source;
  }
  if (!is_json && !text.faults.empty()) return source;
  const int64_t before = problems.count();
  switch (kind) {
    case FileKind::json_lines:
      source.kind = "JSON Lines";
      read_lines(text, options, problems, source);
      break;
    case FileKind::json:
      source.kind = "JSON";
      read_json(text, options, problems, source);
      break;
    case FileKind::csv:
      source.kind = "CSV";
      read_table(text, guess_separator(text.bytes, ','), options, problems, source);
      break;
    case FileKind::tsv:
      source.kind = "TSV";
      read_table(text, '\t', options, problems, source);
      break;
    case FileKind::text:
      source.kind = "text";
      source.plain_text = true;
      read_text(text, options, source);
  }
  if (source.records.empty() && text.faults.empty() && problems.count() == before) {
    problems.add({.message = "the file holds no records", .file = path});
  }
  return source;
}

}  // namespace prentice
