// What a comparison of two artifacts tells: compare.json for programs, compare.md and a table on the terminal for
// people.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/compared.h"
#include "eval/label_states.h"
#include "eval/report.h"
#include "io/json.h"

namespace prentice {

struct ComparedArtifact {
  std::string address;
  uint64_t weight_bytes = 0;
  int64_t tokens = 0;  // of the same rows, prompts included, that took so many `seconds`: no test hangs on it
  double seconds = 0;

  double tokens_per_second() const { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }
};

struct ComparisonPage {
  std::vector<ComparedArtifact> artifacts;  // a and b
  ComparedReports comparison;
  std::optional<MeanDivergence> divergence;  // of two language models of one vocabulary
  double margin = 0, confidence = 0;
  Decision decision;
  std::vector<ScoredFile> data;
};

Json to_json(const ComparisonPage&);  // compare.json, schema 1
std::string to_text(const ComparisonPage&);
std::string to_markdown(const ComparisonPage&);

// "b is better: choice.accuracy +4.0 points (95 % interval +1.2 to +6.8, margin 1) on 200 rows"
std::string sentence(const ComparisonPage&);

}  // namespace prentice
