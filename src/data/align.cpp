#include "data/align.h"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "core/batch.h"

namespace prentice {

namespace {

constexpr std::string_view kWhiteSpace = " \t\n\r";

// One run of labels: how much of the run's text, without white space, stands before the token of each label, in bytes.
// Tokens that are parts of one character begin where it does.
struct Answer {
  std::vector<int64_t> rows, begins;
  std::string text;
};

Answer read_answer(const TokenizedRow& row, int64_t first, int64_t end) {
  Answer answer;
  StreamDecoder decoder(row.tokenizer);
  for (int64_t t = first; t < end; ++t) {
    answer.rows.push_back(t);
    answer.begins.push_back(static_cast<int64_t>(answer.text.size()));
    for (const char c : decoder.push(row.sequence.labels[t])) {
      if (kWhiteSpace.find(c) == std::string_view::npos) answer.text += c;
    }
  }
  return answer;
}

std::vector<Answer> answers_of(const TokenizedRow& row) {
  const auto& labels = row.sequence.labels;
  const auto size = static_cast<int64_t>(labels.size());
  std::vector<Answer> answers;
  for (int64_t t = 0; t < size; ++t) {
    if (labels[t] == kNoLabel) continue;
    int64_t end = t;
    while (end < size && labels[end] != kNoLabel) ++end;
    answers.push_back(read_answer(row, t, end));
    t = end;
  }
  return answers;
}

}  // namespace

std::vector<int64_t> align_rows(const TokenizedRow& ours, const TokenizedRow& theirs) {
  const auto our_answers = answers_of(ours), their_answers = answers_of(theirs);
  std::vector<int64_t> rows;
  for (size_t k = 0; k < our_answers.size(); ++k) {
    const Answer& mine = our_answers[k];
    if (k >= their_answers.size()) {
      rows.insert(rows.end(), mine.rows.size(), -1);
      continue;
    }
    const Answer& other = their_answers[k];
    const auto differ = std::mismatch(mine.text.begin(), mine.text.end(), other.text.begin(), other.text.end());
    const int64_t equal = differ.first - mine.text.begin();
    using Place = std::pair<int64_t, int64_t>;  // byte, and how many tokens began there before
    std::map<Place, int64_t> row_at;
    std::map<int64_t, int64_t> here, there;
    for (size_t i = 0; i < other.rows.size(); ++i) {
      row_at[{other.begins[i], there[other.begins[i]]++}] = other.rows[i];
    }
    for (const int64_t begin : mine.begins) {
      const auto found = row_at.find({begin, here[begin]++});
      rows.push_back(begin > equal || found == row_at.end() ? -1 : found->second);
    }
  }
  return rows;
}

}  // namespace prentice
