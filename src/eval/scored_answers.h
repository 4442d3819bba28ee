// Answers beside their questions: what an evaluation leaves for people, and how an early and a late one compare. Apart
// from eval.json, which holds numbers.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/data_set.h"
#include "eval/report.h"

namespace prentice {

// Of the last scoring; and of the scoring before training, in a run that trains.
inline constexpr const char* kScoredAnswersFile = "examples.jsonl";
inline constexpr const char* kEarlyAnswersFile = "examples_before.jsonl";

// One line a scored row: {"index", "prompt", "expected", "answer"}, for choice or else exact; "" without either.
std::string scored_answers_jsonl(const EvalReport& report, const DataSet& data);

struct ComparedAnswer {
  std::string prompt, expected, before, after;
};

// Rows that both files hold; those that became right come first. Empty when a file is missing. Errors: `malformed`.
std::vector<ComparedAnswer> compare_answers(const std::filesystem::path& before, const std::filesystem::path& after);

}  // namespace prentice
