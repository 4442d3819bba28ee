#include "core/batch.h"

namespace prentice {

Batch to_device(Batch batch, at::Device device) {
  for (Tensor* tensor : {&batch.tokens, &batch.positions, &batch.labels, &batch.weights, &batch.target_rows,
                         &batch.starts, &batch.sequence_id, &batch.sample_key, &batch.pair, &batch.role}) {
    if (tensor->defined()) *tensor = tensor->to(tensor->options().device(device), /*non_blocking=*/true);
  }
  return batch;
}

}  // namespace prentice
