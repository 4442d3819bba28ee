// The CUDA plug-in, libprentice_cuda.so: found beside the program, loaded only where an NVIDIA driver sees a device,
// and spoken to through one table of C functions. The program itself links no CUDA; LibTorch's dispatcher does the
// rest.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace prentice {

inline constexpr int kCudaTableVersion = 2;

// Filled by the plug-in. No function throws; sizes are bytes; functions that return int give 0 when they succeed.
struct CudaTable {
  int version;
  int (*device_count)();
  int (*device_name)(int device, char* name, size_t size);
  int (*memory)(int device, size_t* free, size_t* total);  // by the driver
};

// Loads the plug-in when there is a device for it. To be called once by main, before the first ATen operation: touching
// the CUDA hooks earlier caches the empty ones for good. Never fails: without a plug-in the program runs on the CPU.
void load_cuda_plugin();

// What load_cuda_plugin found: nullptr without a device, and then why.
const CudaTable* cuda();
const std::string& cuda_absence();

// Beside the program, or in ../lib of an installation; empty when it is not there.
std::filesystem::path find_cuda_plugin();

// Opens the plug-in at `path` whether or not there is a device; nullptr and a reason when that fails.
const CudaTable* open_cuda_plugin(const std::filesystem::path& path, std::string& reason);

}  // namespace prentice
