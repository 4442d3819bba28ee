// Which of a teacher's sampled answers become rows to train on. Separate from the sampling, which takes the time, so
// that the filters are a function of what was sampled.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
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

// Why an answer goes, in the order in which the filters ask; it is counted once.
enum class Drop { cut_off, too_short, not_json, no_match, unlikely, disagreeing, merged, repeated };

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
  // Every reason, in words and in that order, with its number.
  std::vector<std::pair<std::string, int64_t>> dropped() const;

 private:
  std::optional<Drop> reason(const SampledAnswer&, const std::vector<SampledAnswer>& all) const;

  SampleSection section_;
  std::optional<Pattern> match_;
  std::set<std::string> rows_;
  std::map<Drop, int64_t> dropped_;
  int64_t sampled_ = 0;
};

}  // namespace prentice
