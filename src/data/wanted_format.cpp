#include "data/wanted_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>

#include "data/problems.h"

namespace prentice {

namespace {

// As a word of YAML's flow style.
std::string flow_word(const std::string& name) {
  const bool plain = std::ranges::all_of(name, [](unsigned char c) { return std::isalnum(c) || c == '_'; });
  return plain && !name.empty() ? name : Json(name).dump();
}

// How data.fields names the members of a record that has others than `wanted`: those in their order where there are as
// many as are wanted, which is a guess.
std::string fields_hint(const std::vector<std::string>& names, std::vector<std::string> wanted) {
  std::vector<std::string> others;
  std::ranges::copy_if(names, std::back_inserter(others),
                       [&](const auto& name) { return std::ranges::find(wanted, name) == wanted.end(); });
  std::erase_if(wanted, [&](const auto& ours) { return std::ranges::find(names, ours) != names.end(); });
  const bool fills = others.size() == wanted.size();
  std::string pairs;
  for (size_t i = 0; i < wanted.size(); ++i) {
    pairs += fmt::format("{}{}: {}", i == 0 ? "" : ", ", wanted[i], fills ? flow_word(others[i]) : "...");
  }
  return fmt::format("say which member is which{}: data.fields='{{{}}}'", fills ? ", for instance" : "", pairs);
}

}  // namespace

DataFormat wanted_format(const Json& record, RowUse use) {
  if (use == RowUse::examples || !record.is_object()) return detect_format(record);
  const auto format = known_format(record);
  const bool answers = record.find("completion") || record.find("messages") || record.find("conversations");
  if (use == RowUse::labels && format != DataFormat::preference && record.find("label") && answers) {
    return DataFormat::labels;
  }
  if (format) return *format;
  std::vector<std::string> names;
  for (const auto& [name, value] : record.as_object()) names.push_back(name);
  const std::vector<std::string> of_pairs = {"prompt", "chosen", "rejected"};
  const std::vector<std::string> of_labels = {"prompt", "completion", "label"};
  bad_record(fmt::format("no data format fits a record with: {}", joined(names)),
             fields_hint(names, use == RowUse::pairs ? of_pairs : of_labels));
}

}  // namespace prentice
