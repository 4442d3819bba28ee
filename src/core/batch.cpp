#include "core/batch.h"

namespace prentice {

Batch to_device(Batch batch, at::Device device) {
  change_tensors(
      batch, [&](const Tensor& tensor) { return tensor.to(tensor.options().device(device), /*non_blocking=*/true); });
  return batch;
}

}  // namespace prentice
