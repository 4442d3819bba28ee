#include "kernels/reused_buffer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

namespace prentice {

Tensor reused_buffer(at::IntArrayRef shape, at::ScalarType type) {
  thread_local Tensor bytes;
  const int64_t wanted = c10::multiply_integers(shape) * static_cast<int64_t>(c10::elementSize(type));
  if (!bytes.defined() || bytes.numel() < wanted) bytes = at::empty({wanted}, at::kByte);
  return at::from_blob(bytes.mutable_data_ptr(), shape, at::TensorOptions(type));
}

}  // namespace prentice
