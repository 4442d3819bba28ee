#include "eval/choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "eval/candidates.h"
#include "eval/trie.h"
#include "io/file.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kTextsAtOnce = 4096;  // candidates times examples that are in memory as tokens
constexpr size_t kManyLabels = 1000;    // from here on completions may be free text

std::vector<std::string> read_choices(const fs::path& path) {
  const std::string text = read_text_file(path, 64 << 20);
  std::vector<std::string> choices;
  if (text.starts_with('[')) {
    return with_context(ExitCode::data, path.string(), [&] {
      const Json json = Json::parse(text);
      for (const Json& choice : json.as_array()) choices.push_back(choice.as_string());
      return choices;
    });
  }
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) choices.push_back(std::move(line));
    begin = end + 1;
  }
  return choices;
}

void require_distinct(const std::string& key, const std::vector<std::string>& choices, ExitCode code) {
  std::set<std::string> seen;
  for (const auto& choice : choices) {
    if (choice.empty()) fail(code, key + ": a choice is empty");
    if (!seen.insert(choice).second) fail(code, fmt::format("{}: '{}' stands there twice", key, choice));
  }
}

std::vector<std::string> completions_of(const DataSet& train) {
  std::set<std::string> labels;
  for (const Example& example : train.examples) labels.insert(example.reference);
  labels.erase("");
  if (labels.size() > kManyLabels && 2 * labels.size() > train.examples.size()) {
    fail(ExitCode::usage,
         fmt::format("eval.tasks: choice needs a set of labels, but data.train has {} different completions in {} rows",
                     labels.size(), train.examples.size()),
         "name the labels with eval.choices");
  }
  return {labels.begin(), labels.end()};
}

std::vector<std::string> candidates_of(const EvalInput& input, int64_t index) {
  const Json* own = input.data.examples[static_cast<size_t>(index)].record.find("choices");
  if (!own || own->is_null()) {
    if (input.choices.empty()) {
      fail(ExitCode::usage, "eval.tasks: choice has no candidates",
           "name them with eval.choices (a list or a file), or in each record's \"choices\"");
    }
    return input.choices;
  }
  const auto& origin = input.data.encoded.origins[static_cast<size_t>(index)];
  const std::string place = to_string(origin) + ": \"choices\"";
  return with_context(ExitCode::data, place, [&] {
    std::vector<std::string> choices;
    for (const Json& choice : own->as_array()) choices.push_back(choice.as_string());
    if (choices.empty()) fail(ExitCode::malformed, "the list is empty");
    require_distinct("the list", choices, ExitCode::malformed);
    return choices;
  });
}

double length_of(Normalize normalize, const std::string& candidate, const std::vector<int32_t>& tokens) {
  if (normalize == Normalize::none) return 1;
  return static_cast<double>(normalize == Normalize::tokens ? tokens.size() : candidate.size());
}

// Scores of a run of examples whose trees fit one forward pass each.
class Scorer {
 public:
  explicit Scorer(const EvalInput& input) : input_(input) {}

  void add(int64_t index, std::vector<std::string> candidates, EncodedChoice encoded) {
    TokenTree tree = build_tree(std::move(encoded.prompt), encoded.answers);
    if (!trees_.empty() && tokens_ + tree.size() > input_.micro_tokens) flush();
    tokens_ += tree.size();
    trees_.push_back(std::move(tree));
    pending_.push_back({index, std::move(candidates), std::move(encoded.answers)});
  }

  ChoiceResult finish() {
    flush();
    result_.count = static_cast<int64_t>(result_.examples.size());
    int64_t correct = 0;
    for (const auto& example : result_.examples) correct += example.answer == example.expected;
    result_.accuracy = result_.count == 0 ? 0 : static_cast<double>(correct) / static_cast<double>(result_.count);
    return std::move(result_);
  }

 private:
  struct Pending {
    int64_t index = 0;
    std::vector<std::string> candidates;
    std::vector<std::vector<int32_t>> answers;
  };

  void flush() {
    if (trees_.empty() || input_.stopped()) return;
    const Tensor all = edge_log_probs(input_.model, trees_);
    const double* edges = all.const_data_ptr<double>();
    for (size_t i = 0; i < trees_.size(); ++i) {
      record(trees_[i], pending_[i], edges);
      edges += trees_[i].edges.size();
    }
    trees_.clear(), pending_.clear(), tokens_ = 0;
    if (input_.progress)
      input_.progress("choice", static_cast<int64_t>(result_.examples.size()), example_count(input_));
  }

  void record(const TokenTree& tree, Pending& pending, const double* edges) {
    ChoiceResult::Example example{.index = pending.index,
                                  .expected = input_.data.examples[static_cast<size_t>(pending.index)].reference};
    double best = 0;
    for (size_t c = 0; c < pending.candidates.size(); ++c) {
      double score = 0;
      for (const int32_t edge : tree.paths[c]) score += edges[edge];
      const std::string& candidate = pending.candidates[c];
      if (std::isnan(score)) {
        const auto& origin = input_.data.encoded.origins[static_cast<size_t>(pending.index)];
        fail(ExitCode::numerical,
             fmt::format("eval.tasks: choice: the score of '{}' at {} is not a number", candidate, to_string(origin)),
             "the model's weights, or what is computed from them in run.precision, are not finite");
      }
      const double compared = score / length_of(input_.section.normalize, candidate, pending.answers[c]);
      if (c == 0 || compared > best) best = compared, example.answer = candidate;
      example.scores.emplace_back(candidate, score);
    }
    result_.examples.push_back(std::move(example));
  }

  const EvalInput& input_;
  std::vector<TokenTree> trees_;
  std::vector<Pending> pending_;
  int64_t tokens_ = 0;
  ChoiceResult result_;
};

}  // namespace

std::vector<std::string> resolve_choices(const EvalSection& section, const DataSet* train) {
  std::vector<std::string> choices = section.choices;
  if (choices.empty()) return train ? completions_of(*train) : choices;
  std::error_code error;
  const bool is_file = choices.size() == 1 && fs::is_regular_file(choices[0], error);
  if (is_file) {
    const std::string path = choices[0];
    choices = read_choices(path);
    if (choices.empty()) fail(ExitCode::data, path + ": holds no choices");
    require_distinct(path, choices, ExitCode::data);
  } else {
    require_distinct("eval.choices", choices, ExitCode::usage);
  }
  return choices;
}

void require_candidates(const EvalInput& input) {
  for (int64_t i = 0; i < example_count(input); ++i) candidates_of(input, i);
}

ChoiceResult score_choice(const EvalInput& input) {
  Scorer scorer(input);
  std::vector<int64_t> indices;
  std::vector<std::vector<std::string>> candidates;
  int64_t texts = 0;
  const auto encode = [&] {
    auto encoded = encode_choices(input, indices, candidates);
    for (size_t i = 0; i < indices.size(); ++i) scorer.add(indices[i], std::move(candidates[i]), std::move(encoded[i]));
    indices.clear(), candidates.clear(), texts = 0;
  };
  const int64_t count = example_count(input);
  for (int64_t index = 0; index < count && !input.stopped(); ++index) {
    indices.push_back(index);
    candidates.push_back(candidates_of(input, index));
    texts += static_cast<int64_t>(candidates.back().size());
    if (texts >= kTextsAtOnce || index + 1 == count) encode();
  }
  return scorer.finish();
}

}  // namespace prentice
