#include "data/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <span>

#include "data/formats.h"
#include "data/messages.h"
#include "data/parallel.h"
#include "data/problems.h"
#include "data/source.h"
#include "data/wanted_format.h"

namespace prentice {

namespace {

// Weights that are all 1 are a plain list: every row once an epoch.
bool is_mix(const std::vector<WeightedFile>& files) {
  std::set<std::string> seen;
  double sum = 0;
  for (const auto& file : files) {
    if (!seen.insert(file.path).second) fail(ExitCode::usage, fmt::format("data: {} is named twice", file.path));
    if (!std::isfinite(file.weight) || file.weight < 0) {
      fail(ExitCode::usage, fmt::format("data: {}: expected a weight of 0 or more, got {}", file.path, file.weight));
    }
    sum += file.weight;
  }
  if (sum <= 0) fail(ExitCode::usage, "data: all weights of the mix are 0");
  return std::any_of(files.begin(), files.end(), [](const WeightedFile& file) { return file.weight != 1; });
}

// The first record that looks like one of a format; one before it that does not is bad and must not hide the rest.
const Record& telling_record(const Source& source, const DataSection& section, RowUse use) {
  constexpr size_t kLookedAt = 100;
  const auto tells = [&](const Record& record) {
    Problems unknown;
    return unknown.collect({}, [&] { wanted_format(renamed(record.value, section.fields), use); });
  };
  const auto first = std::span(source.records).first(std::min(kLookedAt, source.records.size()));
  const auto found = std::ranges::find_if(first, tells);
  return found == first.end() ? first.front() : *found;
}

// The format of a file: as the recipe says, else as `record` looks.
DataFormat format_of(const Source& source, const Json& record, const DataSection& section, const RowMaker& maker) {
  if (maker.builds_rows()) return DataFormat::completion;
  auto format = section.format;
  if (format == DataFormat::automatic && source.plain_text) format = DataFormat::text;
  if (format == DataFormat::automatic) format = wanted_format(renamed(record, section.fields), maker.use());
  require_use(format, maker.use());
  return format;
}

// The names that records use, also inside the messages they hold.
void add_names(const Json& record, std::set<std::string>& names) {
  if (!record.is_object()) return;
  for (const auto& [name, value] : record.as_object()) {
    names.insert(name);
    if (!value.is_array()) continue;
    for (const auto& item : value.as_array()) {
      if (!item.is_object()) continue;
      for (const auto& [inner, ignored] : item.as_object()) names.insert(inner);
    }
  }
}

// A name that no record uses renames nothing: a slip of the pen.
void require_used_fields(const DataSection& section, const std::set<std::string>& names, const std::string& files) {
  if (names.empty()) return;
  for (const auto& [ours, theirs] : section.fields) {
    if (names.contains(theirs)) continue;
    const auto match = closest_match(theirs, {names.begin(), names.end()});
    fail(ExitCode::usage, fmt::format("data.fields: {}: no record of {} has \"{}\"", ours, files, theirs),
         match.empty() ? fmt::format("the records have: {}", joined({names.begin(), names.end()}))
                       : fmt::format("did you mean \"{}\"?", match));
  }
}

void make_rows(Source& source, DataFormat format, double weight, const RowMaker& maker, int threads, LoadedRows& loaded,
               Problems& problems) {
  const auto count = static_cast<int64_t>(source.records.size());
  std::vector<Row> rows(count);
  std::vector<char> good(count, 0);
  std::vector<Problems> found(std::max(threads, 1));
  parallel_ranges(count, threads, [&](int64_t chunk, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      auto& [value, line, number] = source.records[i];
      const Origin origin{source.path, line, number};
      good[i] = found[chunk].collect(origin, [&] { rows[i] = maker.make(std::move(value), format); });
      rows[i].origin = origin;
      rows[i].mix_weight = weight;
    }
  });
  for (const auto& part : found) problems.merge(part);
  for (int64_t i = 0; i < count; ++i) {
    if (good[i]) loaded.rows.push_back(std::move(rows[i]));
  }
}

}  // namespace

LoadedRows load_rows(const std::vector<WeightedFile>& files, const DataSection& section, const RowMaker& maker,
                     int threads, Problems& problems) {
  LoadedRows loaded{.weighted = is_mix(files)};
  std::set<std::string> names;
  double sum = 0;
  for (const auto& file : files) sum += file.weight;
  for (const auto& file : files) {
    const int64_t left = section.limit == 0 ? 0 : section.limit - static_cast<int64_t>(loaded.rows.size());
    if (section.limit > 0 && left <= 0) break;
    auto source = read_source(file.path, {.lines = section.lines, .limit = left, .threads = threads}, problems);
    const auto name = std::filesystem::path(file.path).filename().string();
    const auto share = loaded.weighted ? fmt::format(" ({:.3g} %)", 100 * file.weight / sum) : "";
    loaded.files += (loaded.files.empty() ? "" : ", ") + name + share;
    if (source.records.empty()) continue;
    if (!section.fields.empty()) {
      for (const auto& record : source.records) add_names(record.value, names);
    }
    auto format = DataFormat::automatic;
    const Record& telling = telling_record(source, section, maker.use());
    if (!problems.collect({file.path, telling.line, telling.number},
                          [&] { format = format_of(source, telling.value, section, maker); })) {
      continue;
    }
    maker.is_chat(format);  // the recipe's mistakes come before those of single rows
    if (loaded.format == DataFormat::automatic) loaded.format = format;
    const auto unread = maker.builds_rows() || section.format != DataFormat::automatic
                            ? std::vector<std::string>{}
                            : unread_members(renamed(telling.value, section.fields), format);
    if (!unread.empty()) {
      loaded.warnings.push_back(fmt::format("{}: read as {}; not used: {}", name, format_word(format), joined(unread)));
    }
    make_rows(source, format, file.weight, maker, threads, loaded, problems);
  }
  require_used_fields(section, names, loaded.files);
  return loaded;
}

}  // namespace prentice
