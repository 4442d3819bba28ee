#include "recipes/answer_filters.h"

#include <algorithm>
#include <cmath>

#include "config/values.h"
#include "core/error.h"
#include "io/json.h"

namespace prentice {

namespace {

enum Reason : size_t { kCutOff, kShort, kNotJson, kNoMatch, kUnlikely, kDisagreeing, kGlued, kRepeated };

std::string stripped(const std::string& text) {
  constexpr const char* kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == text.npos ? "" : text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

// Whether `body` goes through.
template <class Body>
bool passes(Body&& body) {
  RecipeMistakes told;
  return told.gather({}, "", std::forward<Body>(body));
}

}  // namespace

AnswerFilters::AnswerFilters(const SampleSection& section) : section_(section) {
  for (const char* reason : kDropReasons) dropped_.emplace_back(reason, 0);
  if (!section.match.empty())
    match_ = with_context(ExitCode::usage, "teach.sample.match", [&] { return Pattern(section.match); });
}

std::optional<size_t> AnswerFilters::reason(const SampledAnswer& answer, const std::vector<SampledAnswer>& all) const {
  const std::string text = stripped(answer.text);
  if (!answer.ended) return kCutOff;
  if (text.empty() || answer.tokens < section_.min_tokens) return kShort;
  if (section_.json && !passes([&] { Json::parse(text); })) return kNotJson;
  bool matches = true;
  if (match_ && !(passes([&] { matches = match_->matches(text); }) && matches)) return kNoMatch;
  if (std::exp(answer.log_prob / static_cast<double>(answer.tokens + 1)) < section_.likelihood) return kUnlikely;
  const auto same = std::ranges::count_if(
      all, [&](const SampledAnswer& other) { return other.ended && stripped(other.text) == text; });
  return same < section_.agree ? std::optional<size_t>(kDisagreeing) : std::nullopt;
}

std::vector<std::string> AnswerFilters::passing(
    const std::vector<SampledAnswer>& answers,
    const std::function<std::optional<std::string>(const std::string& text)>& row_of) {
  std::vector<std::string> rows;
  for (const auto& answer : answers) {
    ++sampled_;
    std::optional<size_t> why = reason(answer, answers);
    if (!why) {
      const auto row = row_of(answer.text);
      if (!row) {
        why = kGlued;
      } else if (!rows_.insert(*row).second) {
        why = kRepeated;
      } else {
        rows.push_back(*row);
      }
    }
    if (why) ++dropped_[*why].second;
  }
  return rows;
}

}  // namespace prentice
