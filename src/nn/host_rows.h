// Rows of a matrix that waits in host memory. Separate from offloaded.h, which moves what a pass makes itself.
#pragma once

#include "core/tensor.h"

namespace prentice {

// Rows `ids` [T] of `matrix` [V, D], frozen and on the host, as [T, D] on the device of `ids`. `host_ids` are the same
// on the host; undefined, the device is waited for. Nobody waits for the copy.
Tensor rows_from_host(const Tensor& matrix, const Tensor& ids, const Tensor& host_ids);

}  // namespace prentice
