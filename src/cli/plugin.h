// Where the program and its CUDA plug-in lie, for `doctor`; kernels/cuda_plugin.h loads it.
#pragma once

#include <filesystem>
#include <string>

namespace prentice {

std::filesystem::path program_folder();    // where this binary lies
std::filesystem::path cuda_plugin_path();  // beside it; need not exist
bool has_nvidia_driver();                  // asks the kernel, makes no context

}  // namespace prentice
