#include "data/fixed_shape.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <bit>

#include "core/error.h"

namespace prentice {

namespace {

constexpr int64_t kFewestSequences = 8, kSizes = 16;

Tensor lengthened(const Tensor& tensor, int64_t size, int64_t value) {
  if (tensor.size(0) == size) return tensor;
  return at::cat({tensor, at::full({size - tensor.size(0)}, value, tensor.options())});
}

// The smallest of the sizes up to `largest` that holds `size`.
int64_t stepped(int64_t size, int64_t step, int64_t largest) {
  return std::min(largest, std::max<int64_t>(1, (size + step - 1) / step) * step);
}

// Fewer targets than tokens leave a row without a label.
Tensor stepped_targets(const Batch& batch, int64_t step) {
  const int64_t count = batch.target_rows.size(0), tokens = batch.tokens.size(0);
  const int64_t wanted = stepped(count, step, tokens);
  if (wanted <= count) return batch.target_rows;
  const auto* labels = batch.labels.const_data_ptr<int64_t>();
  const auto* unlabelled = std::find(labels, labels + tokens, kNoLabel);
  if (unlabelled == labels + tokens) fail(ExitCode::internal, "a row of a fixed shape has more labels than targets");
  return lengthened(batch.target_rows, wanted, unlabelled - labels);
}

}  // namespace

Batch with_fixed_shape(Batch batch, const FixedShape& shape) {
  if (batch.pair.defined() || batch.teacher_ids.defined() || batch.retold) {
    fail(ExitCode::internal, "fixed shapes are those of plain sequences");
  }
  const int64_t own = batch.tokens.size(0), step = std::max<int64_t>(1, shape.tokens / kSizes);
  if (own > shape.tokens || batch.longest > shape.longest) return batch;
  const int64_t tokens = stepped(own, step, shape.tokens);
  std::vector<int64_t>& starts = batch.host_starts;
  std::vector<Tensor> positions = {batch.positions}, ids = {batch.sequence_id};
  for (int64_t left = tokens - own; left > 0;) {
    const int64_t length = std::min(left, shape.longest);
    positions.push_back(at::arange(length, batch.positions.options()));
    ids.push_back(at::full({length}, static_cast<int64_t>(starts.size()) - 1, batch.sequence_id.options()));
    starts.push_back(starts.back() + length);
    left -= length;
  }
  const auto sequences = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(starts.size() - 1)));
  starts.resize(static_cast<size_t>(std::max(kFewestSequences, sequences)) + 1, tokens);
  batch.positions = at::cat(positions);
  batch.sequence_id = at::cat(ids);
  batch.starts = at::tensor(starts, at::kLong).to(batch.starts.scalar_type());
  batch.sample_key = lengthened(batch.sample_key, static_cast<int64_t>(starts.size()) - 1, 0);
  batch.tokens = lengthened(batch.tokens, tokens, 0);
  batch.labels = lengthened(batch.labels, tokens, kNoLabel);
  batch.weights = lengthened(batch.weights, tokens, 0);
  batch.target_rows = stepped_targets(batch, step);
  batch.longest = shape.longest;
  return batch;
}

}  // namespace prentice
