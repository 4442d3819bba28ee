// Which of a teacher's sampled answers become rows to train on. Separate from the sampling, which takes the time, so
// that the filters are a function of what was sampled.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "adapter/pattern.h"
#include "config/schema.h"

namespace prentice {

struct SampledAnswer {
  std::string text;     // without the end token
  int64_t tokens = 0;   // without the end token
  double log_prob = 0;  // sum over the tokens, the end token included, at temperature 1
  bool ended = false;   // by an end token, not by the limit
};

// Reasons in the order in which the filters ask; an answer is counted once.
inline constexpr const char* kDropReasons[] = {
    "cut off", "too short", "not JSON", "no match", "unlikely", "disagreeing", "merged with the prompt", "repeated"};

class AnswerFilters {
 public:
  // Errors: `usage` for a pattern that does not parse.
  explicit AnswerFilters(const SampleSection&);

  // Of the answers to one prompt, those that pass; each text once. `row_of` makes the row of a text, nullopt where it
  // cannot be one; a row that came before is dropped. Counts what goes.
  std::vector<std::string> passing(const std::vector<SampledAnswer>& answers,
                                   const std::function<std::optional<std::string>(const std::string& text)>& row_of);

  int64_t sampled() const { return sampled_; }
  int64_t kept() const { return static_cast<int64_t>(rows_.size()); }
  // Every reason with its number.
  const std::vector<std::pair<std::string, int64_t>>& dropped() const { return dropped_; }

 private:
  std::optional<size_t> reason(const SampledAnswer&, const std::vector<SampledAnswer>& all) const;

  SampleSection section_;
  std::optional<Pattern> match_;
  std::set<std::string> rows_;
  std::vector<std::pair<std::string, int64_t>> dropped_;
  int64_t sampled_ = 0;
};

}  // namespace prentice
