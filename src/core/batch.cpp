#include "core/batch.h"

namespace prentice {

Batch to_device(Batch batch, at::Device device) {
  const bool overlaps = !device.is_cpu();  // nobody waits for a copy to the host, which would be read too early
  if (batch.tokens.is_cpu()) batch.host_tokens = batch.tokens;
  change_tensors(batch, [&](const Tensor& tensor) { return tensor.to(tensor.options().device(device), overlaps); });
  return batch;
}

}  // namespace prentice
