#include "data/split.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>
#include <unordered_map>

#include "core/random.h"
#include "data/order.h"
#include "data/problems.h"

namespace prentice {

namespace {

constexpr uint64_t kSplitStream = 0x73706c6974;  // "split": far from the streams of the epochs' order

struct Group {
  uint64_t place = 0;  // where the seed puts it
  std::vector<size_t> rows;
  std::string stratum;
};

std::string field_text(const Row& row, const std::string& name, const std::string& key,
                       const std::map<std::string, std::string>& fields) {
  const Json* value = row.record.find(name);
  for (const auto& [ours, theirs] : fields) {
    if (!value && theirs == name) value = row.record.find(ours);
  }
  if (!value) bad_record(fmt::format("\"{}\" ({}) is missing", name, key));
  return value->is_string() ? value->as_string() : value->dump();
}

std::vector<Group> groups_of(const std::vector<Row>& rows, const DataSection& section, uint64_t seed) {
  std::unordered_map<uint64_t, size_t> group_of_hash;
  std::vector<Group> groups;
  std::vector<std::map<std::string, int64_t>> strata;
  Problems problems;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& row = rows[i];
    problems.collect(row.origin, [&] {
      const auto text = section.split_by.empty() ? row.record.dump()
                                                 : field_text(row, section.split_by, "data.split_by", section.fields);
      const auto stratum =
          section.stratify.empty() ? "" : field_text(row, section.stratify, "data.stratify", section.fields);
      const auto hash = hash_of(text);
      const auto [entry, is_new] = group_of_hash.try_emplace(hash, groups.size());
      if (is_new) {
        groups.push_back({.place = random_bits(seed, kSplitStream, hash)});
        strata.emplace_back();
      }
      groups[entry->second].rows.push_back(i);
      ++strata[entry->second][stratum];
    });
  }
  problems.throw_if_any();
  // A group with several values counts for its most frequent one (the first of equals in alphabetical order).
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto by_count = [](const auto& a, const auto& b) { return a.second < b.second; };
    groups[i].stratum = std::max_element(strata[i].begin(), strata[i].end(), by_count)->first;
  }
  return groups;
}

}  // namespace

int64_t held_out_count(const Auto<double>& eval_split, int64_t rows) {
  constexpr int64_t kFewestRows = 200, kMostHeldOut = 500;
  if (!eval_split)
    return rows < kFewestRows ? 0 : std::min<int64_t>(kMostHeldOut, std::llround(0.05 * static_cast<double>(rows)));
  if (*eval_split <= 0) return 0;
  const int64_t count = *eval_split < 1 ? std::max<int64_t>(1, std::llround(*eval_split * static_cast<double>(rows)))
                                        : std::llround(*eval_split);
  if (count < rows) return count;
  fail(ExitCode::usage, fmt::format("data.eval_split: {} rows are held out of {}, which leaves none to train on",
                                    with_commas(count), with_commas(rows)));
}

std::vector<char> choose_held_out(const std::vector<Row>& rows, int64_t count, const DataSection& section,
                                  uint64_t seed) {
  std::vector<char> held_out(rows.size(), 0);
  if (count == 0) return held_out;
  auto groups = groups_of(rows, section, seed);
  std::sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) { return a.place < b.place; });
  std::map<std::string, int64_t> sizes;
  for (const auto& group : groups) sizes[group.stratum] += static_cast<int64_t>(group.rows.size());
  std::vector<double> weights;
  for (const auto& [stratum, size] : sizes) weights.push_back(static_cast<double>(size));
  const auto shares = apportion(count, weights);
  std::map<std::string, int64_t> left;
  size_t next = 0;
  for (const auto& [stratum, size] : sizes) left[stratum] = shares[next++];
  bool any = false;
  for (const auto& group : groups) {
    auto& room = left[group.stratum];
    if (static_cast<int64_t>(group.rows.size()) > room) continue;
    room -= static_cast<int64_t>(group.rows.size());
    any = true;
    for (const size_t row : group.rows) held_out[row] = 1;
  }
  if (any) return held_out;
  fail(ExitCode::usage,
       fmt::format("data.eval_split: no group of equal {} fits into {} held-out rows",
                   section.split_by.empty() ? "rows" : section.split_by, with_commas(count)),
       "raise data.eval_split, or name the held-out rows with data.eval");
}

std::vector<std::string> find_overlap(const DataSet& train, const DataSet& eval) {
  std::unordered_map<std::string_view, size_t> first_in_train;
  for (size_t i = 0; i < train.examples.size(); ++i) first_in_train.try_emplace(train.examples[i].text, i);
  std::vector<std::string> overlap;
  for (size_t i = 0; i < eval.examples.size(); ++i) {
    const auto found = first_in_train.find(eval.examples[i].text);
    if (found == first_in_train.end()) continue;
    overlap.push_back(to_string(train.encoded.origins[found->second]) + " = " + to_string(eval.encoded.origins[i]));
  }
  return overlap;
}

}  // namespace prentice
