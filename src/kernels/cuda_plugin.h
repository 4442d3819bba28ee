// The CUDA plug-in, libprentice_cuda.so: found beside the program, loaded only where an NVIDIA driver sees a device,
// and spoken to through one table of C functions. The program itself links no CUDA; LibTorch's dispatcher does the
// rest.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace prentice {

inline constexpr int kCudaTableVersion = 3;

// Filled by the plug-in. No function throws; sizes are bytes; functions that return int give 0 when they succeed.
struct CudaTable {
  int version;
  int (*device_count)();
  int (*device_name)(int device, char* name, size_t size);
  int (*memory)(int device, size_t* free, size_t* total);  // by the driver

  // CUDA graphs (kernels/cuda_graph.h). Between enter and leave the calling thread's stream is the one that is recorded
  // on; each waits for what was launched before it.
  int (*side_stream_enter)(int device);
  int (*side_stream_leave)(int device);
  // Records what pass(argument) launches on that stream; nullptr when that fails, and then nothing ran.
  void* (*graph_record)(int device, void (*pass)(void* argument), void* argument);
  int (*graph_replay)(void* graph);  // on the calling thread's stream
  void (*graph_forget)(void* graph);
  const char* (*last_error)();  // why this thread's last call failed
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
