// What a comparison of two artifacts tells: compare.json for programs, compare.md and a table on the terminal for
// people.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "eval/compared.h"
#include "eval/report.h"
#include "io/json.h"

namespace prentice {

struct ComparisonPage {
  std::vector<std::pair<std::string, uint64_t>> artifacts;  // a and b: address, bytes of weights
  ComparedReports comparison;
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
