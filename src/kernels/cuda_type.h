// Element types of the CUDA kernels, without LibTorch: a .cu file that includes ATen takes a minute to compile.
#pragma once

namespace prentice {

enum class CudaType { f32, f64, f16, bf16 };

}  // namespace prentice
