#include "proof/witness_proof.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>

#include <algorithm>
#include <cmath>

#include "proof/logit_comparison.h"

namespace prentice {

namespace {

// A sequence's ids, and its place among the tokens of all batches.
struct PlacedSequence {
  std::vector<int64_t> ids;
  int64_t first = 0;
};

std::vector<PlacedSequence> placed_sequences(const std::vector<Batch>& batches) {
  std::vector<PlacedSequence> all;
  int64_t place = 0;
  for (const auto& batch : batches) {
    const Tensor tokens = batch.tokens.cpu();
    const auto* ids = tokens.const_data_ptr<int64_t>();
    const auto& starts = batch.host_starts;
    for (size_t i = 0; i + 1 < starts.size(); ++i) {
      if (starts[i + 1] > starts[i]) all.push_back({{ids + starts[i], ids + starts[i + 1]}, place + starts[i]});
    }
    place += tokens.size(0);
  }
  return all;
}

// What one side says of a position against the answer there. scores: [V] f64
void add_answer(const Tensor& scores, const ForeignAnswer& answer, AnswerDifference& found) {
  const Tensor log_probs = at::log_softmax(scores, -1).cpu();
  const auto [values, ids] = at::topk(log_probs, std::min<int64_t>(kComparedIds, scores.size(0)));
  const auto* own = log_probs.const_data_ptr<double>();
  const auto* likeliest = ids.const_data_ptr<int64_t>();
  const auto said = [&](int64_t id) {
    const auto at = std::ranges::find(answer.likeliest, id, [](const auto& one) { return one.first; });
    return at != answer.likeliest.end() ? at->second : std::min(own[id], answer.likeliest.back().second);
  };
  const auto compare = [&](int64_t id) { found.log_prob = std::max(found.log_prob, std::abs(own[id] - said(id))); };
  for (int64_t i = 0; i < ids.size(0); ++i) compare(likeliest[i]);
  for (size_t i = 0; i < std::min<size_t>(kComparedIds, answer.likeliest.size()); ++i)
    compare(answer.likeliest[i].first);
  if (answer.greedy == likeliest[0]) return;
  ++found.otherwise;
  found.margin = std::max(found.margin, own[likeliest[0]] - own[answer.greedy]);
}

std::optional<int64_t> strange_id(const ForeignAnswer& answer, int64_t vocab) {
  const auto is_strange = [&](int64_t id) { return id < 0 || id >= vocab; };
  for (const auto& [id, log_prob] : answer.likeliest) {
    if (is_strange(id)) return id;
  }
  return is_strange(answer.greedy) ? std::optional(answer.greedy) : std::nullopt;
}

// Positions whose ids are at most `context`, spread evenly.
struct Position {
  const PlacedSequence* sequence;
  int64_t index;  // in it
};
std::vector<Position> asked_positions(const std::vector<PlacedSequence>& sequences, int64_t context) {
  std::vector<Position> all, asked;
  for (const auto& sequence : sequences) {
    const int64_t count = std::min(static_cast<int64_t>(sequence.ids.size()), context);
    for (int64_t index = 0; index < count; ++index) all.push_back({&sequence, index});
  }
  const size_t count = std::min<size_t>(kAskedPositions, all.size());
  for (size_t i = 0; i < count; ++i) asked.push_back(all[(2 * i + 1) * all.size() / (2 * count)]);
  return asked;
}

// scores: [answers, V] f64
AnswerDifference difference_of(const Tensor& scores, std::span<const ForeignAnswer> answers) {
  AnswerDifference found;
  for (size_t i = 0; i < answers.size(); ++i) add_answer(scores.select(0, static_cast<int64_t>(i)), answers[i], found);
  return found;
}

}  // namespace

WitnessProof hear(const ForeignLogits& witness, const SideBySide& sides, const std::vector<Batch>& batches,
                  const std::vector<int32_t>& stop_ids, const std::function<void()>& before_sequence) {
  WitnessProof found;
  LogitComparison of_model(sides.vocab(), stop_ids), of_artifact(sides.vocab(), stop_ids);
  for (const auto& sequence : placed_sequences(batches)) {
    before_sequence();
    found.fault = witness(sequence.ids, [&](int64_t first, const Tensor& rows) {
      const Tensor said = rows.to(batches.front().tokens.device(), at::kDouble);
      const LogitsOf other = [&](int64_t id, int64_t count) { return said.narrow(1, id, count); };
      const int64_t place = sequence.first + first, count = said.size(0);
      const Tensor places = at::arange(place, place + count);
      const auto next = std::span(sides.next()).subspan(static_cast<size_t>(place), static_cast<size_t>(count));
      const LogitsOf file = sides.of_artifact(places);
      of_model.add(sides.of_model(places), other, next);
      of_artifact.add(file, other, next);
      const DecidedCounts decided = count_decided(file, other, count, sides.vocab(), kDecided);
      found.decided += decided.decided, found.decided_otherwise += decided.otherwise;
    });
    if (!found.fault.empty()) break;
  }
  found.of_model = of_model.result(), found.of_artifact = of_artifact.result();
  return found;
}

AnswerProof ask(const ForeignAnswers& witness, int64_t context, const SideBySide& sides,
                const std::vector<Batch>& batches) {
  AnswerProof found;
  std::vector<ForeignAnswer> answers;
  std::vector<int64_t> places;
  const auto sequences = placed_sequences(batches);
  for (const auto& [sequence, index] : asked_positions(sequences, context)) {
    ++found.asked;
    auto answer = witness(std::span(sequence->ids).first(static_cast<size_t>(index + 1)));
    if (!answer) continue;
    if ((found.strange = strange_id(*answer, sides.vocab()))) break;
    answers.push_back(std::move(*answer));
    places.push_back(sequence->first + index);
  }
  found.answered = static_cast<int64_t>(answers.size());
  if (answers.empty()) return found;
  const Tensor tokens = at::tensor(places);
  found.from_model = difference_of(sides.of_model(tokens)(0, sides.vocab()), answers);
  found.from_artifact = difference_of(sides.of_artifact(tokens)(0, sides.vocab()), answers);
  return found;
}

}  // namespace prentice
