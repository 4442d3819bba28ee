#include "eval/score.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/utf8.h"
#include "data/steps.h"
#include "eval/candidates.h"
#include "eval/choice.h"
#include "io/sha256.h"
#include "model/generate.h"
#include "objective/token_log_probs.h"

namespace prentice {

namespace {

// Sums over one example, which a long text may have in several pieces.
struct LossSum {
  double loss = 0, weight = 0;
  int64_t tokens = 0;
};

// Adds the labelled positions of `batch`, whose first sequence belongs to samples[0].
void add_losses(const EvalInput& input, const Batch& host, const int64_t* samples, std::vector<LossSum>& sums) {
  const Model& model = input.model;
  const Batch batch = to_device(host, device_of(model));
  const Tensor hidden = forward_hidden(model, batch, {});
  const Tensor log_probs =
      label_log_probs(hidden, model.head, model.spec.final_softcap, batch).to(at::kCPU, at::kDouble);
  const double* log_p = log_probs.const_data_ptr<double>();
  const int64_t* rows = host.target_rows.const_data_ptr<int64_t>();
  const int32_t* sequence = host.sequence_id.const_data_ptr<int32_t>();
  const float* weights = host.weights.const_data_ptr<float>();
  for (int64_t i = 0; i < host.target_rows.size(0); ++i) {
    const double weight = weights[rows[i]];
    if (weight == 0) continue;
    LossSum& sum = sums[static_cast<size_t>(samples[sequence[rows[i]]])];
    sum.loss -= weight * log_p[i], sum.weight += weight, ++sum.tokens;
  }
}

}  // namespace

int64_t example_count(const EvalInput& input) {
  const auto all = static_cast<int64_t>(input.data.examples.size());
  return input.section.limit > 0 ? std::min(all, input.section.limit) : all;
}

std::vector<ScoredFile> scored_files(const DataSet& data, const EvalSection& section) {
  std::vector<ScoredFile> files;
  const auto& origins = data.encoded.origins;
  const size_t count =
      section.limit > 0 ? std::min(origins.size(), static_cast<size_t>(section.limit)) : origins.size();
  for (size_t i = 0; i < count; ++i) {
    auto file = std::ranges::find(files, origins[i].file, &ScoredFile::path);
    if (file == files.end()) {
      files.push_back({origins[i].file, cached_sha256_file(origins[i].file)});
      file = std::prev(files.end());
    }
    ++file->rows;
  }
  return files;
}

LossResult score_loss(const EvalInput& input) {
  const c10::NoGradGuard no_grad;
  const int64_t count = example_count(input);
  std::vector<const Sequence*> sequences;
  std::vector<int64_t> samples;
  for (const Sequence& sequence : input.data.encoded.sequences) {
    if (sequence.sample >= count) continue;
    sequences.push_back(&sequence);
    samples.push_back(sequence.sample);
  }
  std::vector<LossSum> sums(static_cast<size_t>(count));
  const int64_t* next = samples.data();
  collate_in_order(sequences, input.micro_tokens, [&](const Batch& batch) {
    if (input.stopped()) return;
    add_losses(input, batch, next, sums);
    next += batch.host_starts.size() - 1;
    if (input.progress && next > samples.data()) input.progress("loss", next[-1] + 1, count);
  });
  if (input.stopped()) return {};
  LossResult result;
  double loss = 0, weight = 0;
  for (int64_t index = 0; index < count; ++index) {
    const LossSum& sum = sums[static_cast<size_t>(index)];
    loss += sum.loss, weight += sum.weight, result.tokens += sum.tokens;
    if (std::isnan(sum.loss)) {
      const auto& origin = input.data.encoded.origins[static_cast<size_t>(index)];
      fail(ExitCode::numerical, fmt::format("eval.tasks: loss of {} is not a number", to_string(origin)),
           "the model's weights, or what is computed from them in run.precision, are not finite");
    }
    if (sum.tokens > 0) result.examples.push_back({index, sum.tokens, sum.loss / sum.weight});
  }
  if (weight == 0) fail(ExitCode::data, "eval.tasks: loss found no token to score");
  result.mean = loss / weight;
  return result;
}

ExactResult score_exact(const EvalInput& input) {
  const SampleOptions options{.max_new_tokens = input.section.max_new_tokens,
                              .stop_ids = input.stop_ids,
                              .vocab = input.tokenizer.vocab_size()};
  ExactResult result;
  int64_t correct = 0;
  for (int64_t index = 0; index < example_count(input) && !input.stopped(); ++index) {
    std::vector<int32_t> ids = generate(input.model, encode_prompt(input, index), options);
    if (!ids.empty() && std::ranges::find(input.stop_ids, ids.back()) != input.stop_ids.end()) ids.pop_back();
    ExactResult::Example example{
        .index = index,
        .output = std::string(stripped(input.tokenizer.decode(ids, /*skip_special=*/true))),
        .expected = std::string(stripped(input.data.examples[static_cast<size_t>(index)].reference))};
    example.correct = example.output == example.expected;
    correct += example.correct;
    result.examples.push_back(std::move(example));
    if (input.progress) input.progress("exact", index + 1, example_count(input));
  }
  result.count = static_cast<int64_t>(result.examples.size());
  result.accuracy = result.count == 0 ? 0 : static_cast<double>(correct) / static_cast<double>(result.count);
  return result;
}

EvalReport evaluate(const EvalInput& input) {
  const c10::NoGradGuard no_grad;
  EvalReport report;
  const auto& tasks = input.section.tasks;
  if (tasks.empty()) fail(ExitCode::usage, "eval.tasks: names no task", "loss, choice or exact");
  for (const std::string& task : tasks) {
    if (task == "loss") {
      report.loss.emplace();
    } else if (task == "choice") {
      report.choice.emplace();
    } else if (task == "exact") {
      report.exact.emplace();
    } else {
      fail(ExitCode::usage, fmt::format("eval.tasks: '{}' is not in this version", task), "loss, choice or exact");
    }
  }
  // Names first: a mistake must not wait for the scores.
  check_gates(report, input.section.require);
  if (report.choice) require_candidates(input);
  if (report.loss) report.loss = score_loss(input);
  if (report.choice) report.choice = score_choice(input);
  if (report.exact) report.exact = score_exact(input);
  if (report.choice) {
    const auto unlisted = std::ranges::count_if(report.choice->examples, [](const auto& example) {
      return std::ranges::none_of(example.scores, [&](const auto& s) { return s.first == example.expected; });
    });
    if (unlisted > 0) {
      report.warnings.push_back(fmt::format("choice: the expected answer of {} of {} examples is not among the choices",
                                            unlisted, report.choice->count));
    }
  }
  report.gates = check_gates(report, input.section.require);
  return report;
}

}  // namespace prentice
