// What an evaluation found: results by task, the metrics and gates they give, and eval.json. Separate from scoring so
// that recipes read results without a model.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/json.h"

namespace prentice {

struct LossResult {
  struct Example {
    int64_t index = 0, tokens = 0;
    double loss = 0;  // mean nats a token
  };
  double mean = 0;  // nats a token, over all tokens (weighted as in training)
  int64_t tokens = 0;
  std::vector<Example> examples;
};

struct ChoiceResult {
  struct Example {
    int64_t index = 0;
    std::string answer, expected;
    std::vector<std::pair<std::string, double>> scores;  // by candidate: log-likelihood, before any normalisation
  };
  double accuracy = 0;
  int64_t count = 0;
  std::vector<Example> examples;
};

struct ExactResult {
  struct Example {
    int64_t index = 0;
    std::string output, expected;
    bool correct = false;
  };
  double accuracy = 0;
  int64_t count = 0;
  std::vector<Example> examples;
};

struct PreferenceResult {
  struct Example {
    int64_t index = 0;
    double loss = 0, margin = 0;
  };
  double loss = 0;      // mean over pairs, of preference.loss alone
  double accuracy = 0;  // share of the pairs whose chosen answer has the greater reward
  double margin = 0;    // mean difference of the rewards
  int64_t count = 0;
  std::vector<Example> examples;
};

struct GateResult {
  std::string metric;
  double bound = 0, value = 0;
  bool passed = false;
};

struct ScoredFile {
  std::string path, sha256;
  int64_t rows = 0;  // of it that were scored: all, or those held out
};

struct EvalReport {
  std::string model;  // artifact address
  std::vector<ScoredFile> data;
  std::optional<LossResult> loss;
  std::optional<ChoiceResult> choice;
  std::optional<ExactResult> exact;
  std::optional<PreferenceResult> preference;
  std::vector<GateResult> gates;
  std::vector<std::string> warnings;

  bool passed() const;  // every gate
};

// {"loss": 1.2, "choice.accuracy": 0.9, "exact.accuracy": 0.8, "accuracy": 0.9}: `accuracy` is choice's, else exact's.
// Of pairs: {"loss": 0.6, "accuracy": 0.7, "preference.accuracy": 0.7, "margin": 0.2}.
std::map<std::string, double> metrics(const EvalReport&);

// A loss must be at most its bound, an accuracy at least. Errors: `usage` for a metric that no task gave.
std::vector<GateResult> check_gates(const EvalReport&, const std::map<std::string, double>& require);

Json to_json(const EvalReport&);  // eval.json, schema 1

// Of a share `correct` / `count`: Wilson's score interval (1927) at 95 %.
struct Interval {
  double low = 0, high = 1;
};
Interval wilson_interval(int64_t correct, int64_t count);

struct ClassScore {
  std::string label;
  int64_t count = 0, correct = 0;
  double accuracy() const { return count == 0 ? 0 : static_cast<double>(correct) / static_cast<double>(count); }
};
// By expected answer, ascending by label.
std::vector<ClassScore> by_class(const ChoiceResult&);
// The class with the lowest accuracy (the larger one of equals); nullopt when there is none.
std::optional<ClassScore> weakest_class(const ChoiceResult&);

// One line a task for people: "choice   93.5 % of 200 (95 % interval 89.2-96.2); weakest: loans 81.0 %".
std::vector<std::string> summary(const EvalReport&);

}  // namespace prentice
