#include "export/base_rows.h"

#include <algorithm>
#include <optional>

namespace prentice {

namespace {

std::optional<size_t> find_tensor(const WeightSource& weights, const std::string& name) {
  const auto found = std::ranges::find(weights.tensors(), name, &TensorShape::name);
  if (found != weights.tensors().end()) return static_cast<size_t>(found - weights.tensors().begin());
  const auto& names = weights.spec().names;  // the head of a tied model is its embedding
  return name == names.head + ".weight" ? find_tensor(weights, names.embed + ".weight") : std::nullopt;
}

}  // namespace

std::span<const float> BaseRows::rows(size_t index, int64_t first, int64_t count, std::span<const float> values) {
  if (trained_.is_changed(index)) {
    room_.resize(values.size());
    trained_.read_base_rows(index, first, count, room_);
    return room_;
  }
  const auto found = base_ == nullptr ? std::nullopt : find_tensor(*base_, trained_.tensors()[index].name);
  if (!found) return {};
  const RowShape own = row_shape(trained_.tensors()[index].shape), theirs = row_shape(base_->tensors()[*found].shape);
  const int64_t here = std::clamp<int64_t>(theirs.rows - first, 0, count);
  if (own.columns != theirs.columns || here == 0) return {};
  room_.assign(values.begin(), values.end());
  base_->read_rows(*found, first, here, std::span(room_).first(static_cast<size_t>(here * own.columns)));
  return std::ranges::equal(room_, values) ? std::span<const float>() : room_;
}

}  // namespace prentice
