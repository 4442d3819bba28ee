#include "recipes/selftest.h"

#include <ATen/ops/log_softmax.h>
#include <ATen/ops/topk.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "model/generate.h"

namespace prentice {

namespace {

constexpr int64_t kGreedyTokens = 16, kTextPrompt = 8, kTop = 5;

// Everything before the first trained token; text is trained from its start, so there a few tokens serve as a prompt.
std::vector<int32_t> prompt_of(const Sequence& sequence) {
  const auto first =
      std::find_if(sequence.labels.begin(), sequence.labels.end(), [](int32_t label) { return label >= 0; });
  const int64_t trained_from = first - sequence.labels.begin() + 1;
  const int64_t length = std::min(sequence.size(), trained_from > 1 ? trained_from : kTextPrompt);
  return {sequence.ids.begin(), sequence.ids.begin() + length};
}

std::vector<std::pair<int32_t, double>> top_after(const Model& model, const std::vector<int32_t>& prompt) {
  KvCache cache(model);
  const Tensor last = forward_cached(model, prompt, cache).narrow(0, static_cast<int64_t>(prompt.size()) - 1, 1);
  const auto [values, ids] = at::topk(at::log_softmax(logits(model, last).to(at::kDouble), -1).squeeze(0), kTop);
  const Tensor host_values = values.cpu(), host_ids = ids.cpu();
  std::vector<std::pair<int32_t, double>> top;
  for (int64_t i = 0; i < kTop; ++i) {
    top.emplace_back(static_cast<int32_t>(host_ids.const_data_ptr<int64_t>()[i]),
                     host_values.const_data_ptr<double>()[i]);
  }
  return top;
}

}  // namespace

std::vector<SelfTestCase> make_self_test(const Model& model, const DataSet& data,
                                         const std::vector<int32_t>& stop_ids) {
  const c10::AutoGradMode no_gradients(false);
  std::vector<SelfTestCase> cases;
  for (const auto& sequence : data.encoded.sequences) {
    if (cases.size() == kSelfTestCases) break;
    if (data.encoded.group > 1 && sequence.role == kRejected) continue;  // its prompt is the chosen answer's
    SelfTestCase one{.prompt = data.examples.at(static_cast<size_t>(sequence.sample)).prompt,
                     .prompt_ids = prompt_of(sequence)};
    one.greedy_ids = generate(model, one.prompt_ids, {.max_new_tokens = kGreedyTokens, .stop_ids = stop_ids});
    one.top_log_probs = top_after(model, one.prompt_ids);
    cases.push_back(std::move(one));
  }
  return cases;
}

}  // namespace prentice
