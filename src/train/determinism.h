// The switches that make two runs with the same seed, thread count and machine give the same bits (reliability 3.1).
// Separate because they are process-wide and must be set in order: the environment before the first library call.
#pragma once

#include <cstdint>

namespace prentice {

// Call at the top of main, before the CUDA plug-in is loaded: cuBLAS reads its workspace setting when its first handle
// is made, MKL its own when it starts. A value that the user has set stays.
void prepare_environment();

// Thread count (0 = leave), deterministic kernels, and TF32 and cuDNN's benchmark mode off.
void set_numerics(int64_t threads, bool deterministic);

}  // namespace prentice
