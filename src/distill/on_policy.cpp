#include "distill/on_policy.h"

#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "core/random.h"
#include "data/pack.h"
#include "data/steps.h"
#include "data/unpack.h"
#include "model/generate.h"

namespace prentice {

namespace {

constexpr uint64_t kChoiceStream = 0x6f6e2d706f6c6963;  // "on-polic"

struct Keyed {
  Sequence sequence;
  int64_t key = 0;  // its sample_key
};

uint64_t bits_of(uint64_t seed, int64_t step, int64_t key) {
  const uint64_t of_step = random_bits(seed, kChoiceStream, static_cast<uint64_t>(step));
  return random_bits(of_step, kChoiceStream, static_cast<uint64_t>(key));
}

// Share of n, its fraction drawn: over many steps the share is met exactly.
size_t draw_count(double share, size_t n, uint64_t seed, int64_t step) {
  const double draw = uniform_from(random_bits(seed, kChoiceStream + 1, static_cast<uint64_t>(step)));
  return std::min(n, static_cast<size_t>(std::floor(share * static_cast<double>(n) + draw)));
}

Sequence answered(const Sequence& given, const Model& student, const SamplingOptions& options, uint64_t seed) {
  const auto [begin, end] = last_answer(given);
  const std::span prompt(given.ids.data(), static_cast<size_t>(begin + 1));
  const int64_t room = options.max_length - static_cast<int64_t>(prompt.size());
  const auto made = generate(student, prompt,
                             {.max_new_tokens = std::max<int64_t>(1, std::min(options.max_new_tokens, room)),
                              .temperature = 1,
                              .seed = seed,
                              .stop_ids = options.stop_ids,
                              .vocab = options.vocab});
  Sequence sampled;
  sampled.ids.assign(prompt.begin(), prompt.end());
  sampled.ids.insert(sampled.ids.end(), made.begin(), made.end());
  sampled.labels.assign(sampled.ids.size(), static_cast<int32_t>(kNoLabel));
  std::copy(made.begin(), made.end(), sampled.labels.begin() + begin);
  sampled.weights.assign(sampled.ids.size(), given.weights.empty() ? 1.0F : given.weights[begin]);
  return sampled;
}

Batch collate_keyed(const std::vector<const Keyed*>& members) {
  std::vector<const Sequence*> sequences;
  std::vector<int64_t> keys;
  for (const auto* member : members) sequences.push_back(&member->sequence), keys.push_back(member->key);
  Batch batch = collate(sequences, 0);
  batch.sample_key = at::tensor(keys, at::kLong);
  return batch;
}

void add_batches(std::vector<Batch>& batches, const std::vector<Keyed>& sampled, int64_t capacity) {
  std::vector<int64_t> lengths;
  for (const auto& [sequence, key] : sampled) lengths.push_back(sequence.size());
  for (const auto& bin : pack_bins(lengths, capacity)) {
    std::vector<const Keyed*> members;
    for (const int64_t i : bin) members.push_back(&sampled[i]);
    batches.push_back(collate_keyed(members));
    batches.back().sampled = true;
  }
}

void count(Step& step) {
  step.counts.tokens = step.counts.sampled_tokens = 0;
  step.input_tokens = 0;
  for (const auto& batch : step.micros) {
    const auto tokens = batch.weights.sum(at::kDouble).item<double>();
    step.counts.tokens += tokens;
    if (batch.sampled) step.counts.sampled_tokens += tokens;
    step.input_tokens += batch.tokens.size(0);
  }
}

}  // namespace

AnswerSpan last_answer(const Sequence& sequence) {
  int64_t end = sequence.size();
  while (end > 0 && sequence.labels[end - 1] == kNoLabel) --end;
  int64_t begin = end;
  while (begin > 0 && sequence.labels[begin - 1] != kNoLabel) --begin;
  return {begin, end};
}

int64_t longest_answer(std::span<const Sequence> sequences) {
  int64_t longest = 1;
  for (const auto& sequence : sequences) {
    const auto [begin, end] = last_answer(sequence);
    longest = std::max(longest, end - begin);
  }
  return longest;
}

void sample_answers(Step& step, int64_t index, const Model& student, const SamplingOptions& options) {
  const c10::NoGradGuard no_grad;
  std::vector<int64_t> keys;
  for (const auto& batch : step.micros) {
    const auto* of_batch = batch.sample_key.const_data_ptr<int64_t>();
    keys.insert(keys.end(), of_batch, of_batch + batch.sample_key.size(0));
  }
  const size_t to_answer = draw_count(options.share, keys.size(), options.seed, index);
  if (to_answer == 0) return;
  std::vector<uint64_t> ranks;
  for (const int64_t key : keys) ranks.push_back(bits_of(options.seed, index, key));
  std::vector<uint64_t> sorted = ranks;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(to_answer - 1), sorted.end());
  const uint64_t bound = sorted[to_answer - 1];

  const Model at_hand = with_head_at_hand(student);
  std::vector<Batch> batches;
  std::vector<Keyed> sampled;
  size_t at = 0;
  for (auto& batch : step.micros) {
    std::vector<Keyed> kept;
    const auto sequences = sequences_of(batch);
    for (const auto& sequence : sequences) {
      const int64_t key = keys[at];
      const uint64_t rank = ranks[at++];
      if (rank > bound) {
        kept.push_back({sequence, key});
      } else {
        sampled.push_back({answered(sequence, at_hand, options, rank), key});
      }
    }
    std::vector<const Keyed*> members;
    for (const auto& member : kept) members.push_back(&member);
    if (kept.size() == sequences.size()) {
      batches.push_back(std::move(batch));
    } else if (!kept.empty()) {
      batches.push_back(collate_keyed(members));
    }
  }
  add_batches(batches, sampled, options.packing ? options.micro_tokens : 1);
  step.micros = std::move(batches);
  count(step);
}

}  // namespace prentice
