#include "distill/answer_filters.h"

#include <algorithm>
#include <cmath>

#include "config/values.h"
#include "core/error.h"
#include "core/utf8.h"
#include "io/json.h"

namespace prentice {

namespace {

struct DropWords {
  Drop reason;
  const char* words;
};
constexpr DropWords kDropWords[] = {{Drop::cut_off, "cut off"},
                                    {Drop::too_short, "too short"},
                                    {Drop::not_json, "not JSON"},
                                    {Drop::no_match, "no match"},
                                    {Drop::unlikely, "unlikely"},
                                    {Drop::disagreeing, "disagreeing"},
                                    {Drop::merged, "merged with the prompt"},
                                    {Drop::repeated, "repeated"}};

// Whether `body` goes through.
template <class Body>
bool passes(Body&& body) {
  RecipeMistakes told;
  return told.gather({}, "", std::forward<Body>(body));
}

}  // namespace

AnswerFilters::AnswerFilters(const SampleSection& section) : section_(section) {
  if (!section.match.empty())
    match_ = with_context(ExitCode::usage, "teach.sample.match", [&] { return Pattern(section.match); });
}

std::optional<Drop> AnswerFilters::reason(const SampledAnswer& answer, const std::vector<SampledAnswer>& all) const {
  const std::string_view text = stripped(answer.text);
  if (!answer.ended) return Drop::cut_off;
  if (text.empty() || answer.tokens < section_.min_tokens) return Drop::too_short;
  if (section_.json && !passes([&] { Json::parse(text); })) return Drop::not_json;
  bool matches = true;
  if (match_ && !(passes([&] { matches = match_->matches(text); }) && matches)) return Drop::no_match;
  if (std::exp(answer.log_prob / static_cast<double>(answer.tokens + 1)) < section_.likelihood) return Drop::unlikely;
  const auto same = std::ranges::count_if(
      all, [&](const SampledAnswer& other) { return other.ended && stripped(other.text) == text; });
  return same < section_.agree ? std::optional(Drop::disagreeing) : std::nullopt;
}

std::vector<std::string> AnswerFilters::passing(
    const std::vector<SampledAnswer>& answers,
    const std::function<std::optional<std::string>(const std::string& text)>& row_of) {
  std::vector<std::string> rows;
  for (const auto& answer : answers) {
    ++sampled_;
    std::optional<Drop> why = reason(answer, answers);
    if (!why) {
      const auto row = row_of(answer.text);
      if (!row) {
        why = Drop::merged;
      } else if (!rows_.insert(*row).second) {
        why = Drop::repeated;
      } else {
        rows.push_back(*row);
      }
    }
    if (why) ++dropped_[*why];
  }
  return rows;
}

std::vector<std::pair<std::string, int64_t>> AnswerFilters::dropped() const {
  std::vector<std::pair<std::string, int64_t>> all;
  for (const auto& [reason, words] : kDropWords) {
    const auto found = dropped_.find(reason);
    all.emplace_back(words, found == dropped_.end() ? 0 : found->second);
  }
  return all;
}

}  // namespace prentice
