#include "model/stored_values.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cstdint>
#include <cstring>

namespace prentice {

std::optional<c10::ScalarType> stored_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return at::kFloat;
    case DType::bf16:
      return at::kBFloat16;
    case DType::f16:
      return at::kHalf;
    case DType::f64:
      return at::kDouble;
    default:
      return std::nullopt;
  }
}

Tensor stored_values(const TensorView& view) {
  Tensor values = at::empty(view.shape, at::TensorOptions(*stored_type(view.dtype)));
  if (!view.bytes.empty()) std::memcpy(values.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
  return values;
}

void copy_stored(Tensor& destination, const TensorView& view) {
  const c10::ScalarType type = *stored_type(view.dtype);
  const bool aligned = reinterpret_cast<uintptr_t>(view.bytes.data()) % c10::elementSize(type) == 0;
  if (!aligned) {
    destination.copy_(stored_values(view));
    return;
  }
  auto* data = const_cast<std::byte*>(view.bytes.data());  // only read: the mapping is read-only
  destination.copy_(at::from_blob(data, view.shape, at::TensorOptions(type)));
}

}  // namespace prentice
