#include "train/determinism.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <cstdlib>

namespace prentice {

void prepare_environment() {
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  ::setenv("MKL_DYNAMIC", "FALSE", /*overwrite=*/0);
}

void set_numerics(int64_t threads, bool deterministic) {
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
  auto& context = at::globalContext();
  // Attention's backward is deterministic only when this is more than a warning.
  context.setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
  context.setDeterministicFillUninitializedMemory(false);  // costs a pass over every new tensor and races with streams
  context.setDeterministicCuDNN(deterministic);
  context.setBenchmarkCuDNN(false);
  context.setAllowTF32CuBLAS(false);
  context.setAllowTF32CuDNN(false);
}

}  // namespace prentice
