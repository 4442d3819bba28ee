// Where the program lies, and whether there is a driver; kernels/cuda_plugin.h finds and loads the plug-in.
#pragma once

#include <filesystem>
#include <string>

namespace prentice {

std::filesystem::path program_folder();  // where this binary lies
bool has_nvidia_driver();                // asks the kernel, makes no context

}  // namespace prentice
