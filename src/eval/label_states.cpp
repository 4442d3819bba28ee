#include "eval/label_states.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include "core/error.h"
#include "data/steps.h"
#include "eval/score.h"
#include "model/score.h"
#include "objective/head.h"
#include "objective/token_log_probs.h"

namespace prentice {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kLogitBytes = int64_t{16} << 20;  // of one model; beside them stand both in f64

int64_t scored_labels(const Sequence& sequence) {
  int64_t count = 0;
  for (size_t i = 0; i < sequence.labels.size(); ++i)
    count += sequence.labels[i] != kNoLabel && (sequence.weights.empty() || sequence.weights[i] != 0);
  return count;
}

// Labelled positions that weigh nothing are no part of a loss, nor of this.
Tensor scored_rows(const Batch& host) {
  const Tensor weights = host.weights.index_select(0, host.target_rows);
  return host.target_rows.index_select(0, weights.ne(0).nonzero().squeeze(1));
}

HeadInput head_input(const LabelStates& states) {
  const Tensor rows = states.hidden.to(states.device);
  const Tensor all = at::arange(rows.size(0), at::TensorOptions(at::kLong).device(states.device));
  return chosen_rows(rows, states.head, states.softcap, all, at::zeros_like(all));
}

}  // namespace

LabelStates label_states(const Model& model, const EncodedSet& rows, int64_t examples,
                         const std::function<void()>& before_batch) {
  const c10::NoGradGuard no_grad;
  std::vector<const Sequence*> sequences;
  int64_t positions = 0;
  for (const Sequence& sequence : rows.sequences) {
    if (sequence.sample >= examples) continue;
    if (positions >= kComparedPositions) break;
    positions += scored_labels(sequence);
    sequences.push_back(&sequence);
  }
  LabelStates states{.head = model.head, .softcap = model.spec.final_softcap, .device = device_of(model)};
  std::vector<Tensor> parts;
  const auto visit = [&](const Batch& host) {
    before_batch();
    const auto started = Clock::now();
    const Batch batch = to_device(host, states.device);
    Tensor hidden;
    if (model.spec.labels > 0) {
      sequence_scores(model, batch, {}).cpu();  // waits for the device
    } else {
      hidden = forward_hidden(model, batch, {});
      label_log_probs(hidden, model.head, states.softcap, batch).cpu();
    }
    states.seconds += std::chrono::duration<double>(Clock::now() - started).count();
    states.tokens += host.tokens.size(0);
    if (hidden.defined()) parts.push_back(hidden.index_select(0, scored_rows(host).to(states.device)).cpu());
  };
  collate_in_order(sequences, kEvalMicroTokens, visit, rows.group);
  if (!parts.empty()) states.hidden = at::cat(parts);
  return states;
}

MeanDivergence mean_divergence(const LabelStates& a, const LabelStates& b) {
  const c10::NoGradGuard no_grad;
  if (!a.hidden.defined()) return {};
  HeadInput first = head_input(a), second = head_input(b);
  const bool heads_are_one_size = first.vocab() == second.vocab();
  const int64_t vocab = std::min(first.vocab(), second.vocab());
  for (HeadInput* in : {&first, &second}) {
    if (vocab < in->vocab()) *in = cut_to_vocabulary(std::move(*in), vocab);
  }
  const LogitsOfRows others = logits_of_rows(second);
  MeanDivergence found{.positions = a.hidden.size(0), .same = heads_are_one_size};
  visit_chunks(first, {kLogitBytes}, nullptr, [&](const Chunk& chunk, Tensor& logits) -> ChunkGradient {
    const Tensor other = others(chunk).to(logits.device());
    found.same = found.same && other.dtype() == logits.dtype() && at::equal(logits, other);
    const Tensor p = at::log_softmax(logits.to(at::kDouble), 1);
    const Tensor q = at::log_softmax(other.to(at::kDouble), 1);
    found.mean += (p.exp() * (p - q)).sum().item<double>() / static_cast<double>(found.positions);
    return {};
  });
  if (!std::isfinite(found.mean)) {
    fail(ExitCode::numerical, "compare: the KL divergence of the two is not a number",
         "the weights of one, or what is computed from them in run.precision, are not finite");
  }
  return found;
}

}  // namespace prentice
