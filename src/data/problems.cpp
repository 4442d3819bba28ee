#include "data/problems.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <tuple>

namespace prentice {

namespace {

constexpr size_t kPlaces = 8;  // of problems in the same words

// " (12 in all: also lines 3, 4, 7, ...)"; "" for one problem.
std::string others(const std::vector<Origin>& origins, int64_t count) {
  if (count == 1) return "";
  const auto in_file_with = [&](int64_t Origin::*number) {
    return std::ranges::all_of(
        origins, [&](const Origin& origin) { return origin.file == origins.front().file && origin.*number > 0; });
  };
  const bool by_line = in_file_with(&Origin::line), by_record = !by_line && in_file_with(&Origin::record);
  std::vector<std::string> places;
  for (size_t i = 1; i < origins.size(); ++i) {
    places.push_back(by_line     ? with_commas(origins[i].line)
                     : by_record ? with_commas(origins[i].record)
                                 : to_string(origins[i]));
  }
  const std::string_view noun = by_line ? "line" : by_record ? "record" : "";
  const std::string_view plural = noun.empty() ? "" : places.size() > 1 ? "s " : " ";
  const std::string_view more = static_cast<size_t>(count) > origins.size() ? ", ..." : "";
  return fmt::format(" ({} in all: also {}{}{}{})", with_commas(count), noun, plural, fmt::join(places, ", "), more);
}

}  // namespace

void Problems::add(const Origin& origin, Diagnostic diagnostic) {
  add_group(Group{.said = std::move(diagnostic), .count = 1, .origins = {origin}});
}

void Problems::add(const Diagnostic& placed) { add({.file = placed.file, .line = placed.line}, placed); }

void Problems::merge(const Problems& other) {
  int64_t shown = 0;
  for (const auto& group : other.shown_) shown += group.count, add_group(group);
  count_ += other.count_ - shown;
}

void Problems::add_group(const Group& group) {
  count_ += group.count;
  const auto says_the_same = [&](const Group& known) {
    const Diagnostic &a = known.said, &b = group.said;
    return std::tie(a.message, a.hint, a.key) == std::tie(b.message, b.hint, b.key);
  };
  auto known = std::ranges::find_if(shown_, says_the_same);
  if (known == shown_.end()) {
    if (shown_.size() < kShown) shown_.push_back(group);
    return;
  }
  known->count += group.count;
  for (const auto& origin : group.origins) {
    if (known->origins.size() < kPlaces) known->origins.push_back(origin);
  }
}

void Problems::throw_if_any() const {
  if (empty()) return;
  std::vector<std::string> files;
  std::vector<Diagnostic> diagnostics;
  int64_t left = count_;
  for (const auto& [said, count, origins] : shown_) {
    Diagnostic found = mistake_at(origins.front(), said.message + others(origins, count), said.hint);
    found.column = said.column;
    found.key = said.key;
    if (std::ranges::find(files, found.file) == files.end()) files.push_back(found.file);
    diagnostics.push_back(std::move(found));
    left -= count;
  }
  const auto place = [&](const Diagnostic& d) { return std::pair(std::ranges::find(files, d.file), d.line); };
  std::ranges::stable_sort(diagnostics, {}, place);
  if (left > 0)
    diagnostics.push_back({.message = fmt::format("and {} more, {} in all", with_commas(left), with_commas(count_))});
  throw Error(ExitCode::data, std::move(diagnostics));
}

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
