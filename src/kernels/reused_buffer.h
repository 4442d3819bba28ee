// Memory on the CPU that the next call takes over: weights made anew for every product. Freed, memory of this size goes
// back to the system, and page faults of taking it again cost more than the values.
#pragma once

#include "core/tensor.h"

namespace prentice {

// The thread's own, as large as the largest asked for. No result outlives the next call.
Tensor reused_buffer(at::IntArrayRef shape, at::ScalarType type);

}  // namespace prentice
