#include <ATen/ops/empty.h>

#include <algorithm>

#include "core/random.h"
#include "data/steps.h"

namespace prentice {

namespace {

template <class T>
Tensor empty_tensor(int64_t size, at::ScalarType type, T** data) {
  Tensor tensor = at::empty({size}, at::TensorOptions().dtype(type));
  *data = tensor.mutable_data_ptr<T>();
  return tensor;
}

// Copies one sequence to rows [start, start + size) and appends its labelled rows; returns the new count of those.
int64_t write_sequence(const Sequence& sequence, int64_t start, int32_t index, Batch& batch, int64_t targets) {
  auto* tokens = batch.tokens.mutable_data_ptr<int64_t>() + start;
  auto* positions = batch.positions.mutable_data_ptr<int64_t>() + start;
  auto* labels = batch.labels.mutable_data_ptr<int64_t>() + start;
  auto* weights = batch.weights.mutable_data_ptr<float>() + start;
  auto* rows = batch.target_rows.mutable_data_ptr<int64_t>();
  std::fill_n(batch.sequence_id.mutable_data_ptr<int32_t>() + start, sequence.size(), index);
  for (int64_t t = 0; t < sequence.size(); ++t) {
    const bool labelled = sequence.labels[t] != kNoLabel;
    tokens[t] = sequence.ids[t];
    positions[t] = t;
    labels[t] = sequence.labels[t];
    weights[t] = !labelled ? 0.0F : sequence.weights.empty() ? 1.0F : sequence.weights[t];
    if (labelled) rows[targets++] = start + t;
  }
  return targets;
}

// A rejected answer behind a chosen one of its sample makes a pair with it; any other answer stands for itself.
void write_roles(const std::vector<const Sequence*>& sequences, Batch& batch) {
  int32_t *pairs = nullptr, *roles = nullptr;
  double* reference = nullptr;
  const auto count = static_cast<int64_t>(sequences.size());
  batch.pair = empty_tensor(count, at::kInt, &pairs);
  batch.role = empty_tensor(count, at::kInt, &roles);
  if (sequences[0]->reference) batch.reference = empty_tensor(count, at::kDouble, &reference);
  int32_t pair = -1;
  for (int64_t i = 0; i < count; ++i) {
    const auto& sequence = *sequences[i];
    const bool second = i > 0 && sequence.role == kRejected && sequences[i - 1]->role == kChosen &&
                        sequences[i - 1]->sample == sequence.sample;
    pairs[i] = second ? pair : ++pair;
    roles[i] = sequence.role;
    if (reference) reference[i] = *sequence.reference;
  }
}

}  // namespace

double Sequence::target_weight() const {
  double total = 0;
  for (size_t t = 0; t < labels.size(); ++t) {
    if (labels[t] != kNoLabel) total += weights.empty() ? 1.0 : weights[t];
  }
  return total;
}

int64_t sample_key(const Sequence& sequence, int64_t occurrence) {
  constexpr std::array<uint32_t, 2> kKey = {0x73616d70, 0x6c65206b};  // "sample k"
  constexpr uint32_t kSide = uint32_t{1} << 31;                       // the two sides of a pair share a sample
  const auto sample = static_cast<uint64_t>(sequence.sample);
  const auto words = philox4x32({static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32),
                                 static_cast<uint32_t>(sequence.piece) | (sequence.role == kRejected ? kSide : 0),
                                 static_cast<uint32_t>(occurrence)},
                                kKey);
  return static_cast<int64_t>((words[0] | uint64_t{words[1]} << 32) >> 1);
}

Batch collate(const std::vector<const Sequence*>& sequences, int64_t occurrence) {
  return collate(sequences, std::vector<int64_t>(sequences.size(), occurrence));
}

Batch collate(const std::vector<const Sequence*>& sequences, const std::vector<int64_t>& occurrences) {
  Batch batch;
  int64_t total = 0, targets = 0;
  batch.host_starts.push_back(0);
  for (const auto* sequence : sequences) {
    total += sequence->size();
    targets += std::count_if(sequence->labels.begin(), sequence->labels.end(), [](int32_t l) { return l != kNoLabel; });
    batch.longest = std::max(batch.longest, sequence->size());
    batch.host_starts.push_back(total);
  }
  const auto count = static_cast<int64_t>(sequences.size());
  int64_t* keys = nullptr;
  int32_t* starts = nullptr;
  batch.tokens = at::empty({total}, at::kLong);
  batch.positions = at::empty({total}, at::kLong);
  batch.labels = at::empty({total}, at::kLong);
  batch.weights = at::empty({total}, at::kFloat);
  batch.target_rows = at::empty({targets}, at::kLong);
  batch.sequence_id = at::empty({total}, at::kInt);
  batch.starts = empty_tensor(count + 1, at::kInt, &starts);
  batch.sample_key = empty_tensor(count, at::kLong, &keys);
  std::copy(batch.host_starts.begin(), batch.host_starts.end(), starts);
  int64_t written = 0;
  for (int64_t i = 0; i < count; ++i) {
    written = write_sequence(*sequences[i], batch.host_starts[i], static_cast<int32_t>(i), batch, written);
    keys[i] = sample_key(*sequences[i], occurrences[i]);
  }
  if (count > 0 && sequences[0]->role != kNoRole) write_roles(sequences, batch);
  return batch;
}

void collate_in_order(std::span<const Sequence* const> sequences, int64_t micro_tokens,
                      const std::function<void(const Batch&)>& visit, int64_t group) {
  std::vector<const Sequence*> open;
  int64_t tokens = 0;
  for (size_t i = 0; i < sequences.size(); i += group) {
    const auto members = sequences.subspan(i, group);
    int64_t added = 0;
    for (const auto* sequence : members) added += sequence->size();
    if (!open.empty() && micro_tokens > 0 && tokens + added > micro_tokens) {
      visit(collate(open, 0));
      open.clear();
      tokens = 0;
    }
    open.insert(open.end(), members.begin(), members.end());
    tokens += added;
  }
  if (!open.empty()) visit(collate(open, 0));
}

}  // namespace prentice
