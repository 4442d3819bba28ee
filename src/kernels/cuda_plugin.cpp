#include "kernels/cuda_plugin.h"

#include <dlfcn.h>

#include <system_error>

#include "core/host.h"

namespace prentice {

namespace {

constexpr const char* kFileName = "libprentice_cuda.so";

struct Found {
  const CudaTable* table = nullptr;
  std::string absence = "this verb loads no CUDA plug-in";
};

Found& found() {
  static Found state;
  return state;
}

// Asked of the driver alone, which takes milliseconds; the plug-in with LibTorch's CUDA half takes seconds to load.
std::string why_no_device() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!driver) return "no NVIDIA driver (libcuda.so.1)";
  const auto init = reinterpret_cast<int (*)(unsigned)>(dlsym(driver, "cuInit"));
  const auto count = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDeviceGetCount"));
  int devices = 0;
  if (!init || !count || init(0) != 0 || count(&devices) != 0 || devices == 0) return "no CUDA device";
  return "";
}

}  // namespace

std::filesystem::path find_cuda_plugin() {
  std::error_code error;
  const auto folder = program_file().parent_path();
  for (const auto& candidate : {folder / kFileName, folder.parent_path() / "lib" / kFileName}) {
    if (std::filesystem::exists(candidate, error)) return candidate;
  }
  return {};
}

const CudaTable* open_cuda_plugin(const std::filesystem::path& path, std::string& reason) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!library) {
    reason = dlerror();
    return nullptr;
  }
  const auto entry = reinterpret_cast<const CudaTable* (*)()>(dlsym(library, "prentice_cuda_table"));
  const CudaTable* table = entry ? entry() : nullptr;
  if (table && table->version == kCudaTableVersion) return table;
  reason = path.string() + " belongs to another version of the program";
  return nullptr;
}

void load_cuda_plugin() {
  Found& state = found();
  state.absence = why_no_device();
  if (!state.absence.empty()) return;
  const auto path = find_cuda_plugin();
  if (path.empty()) {
    state.absence = std::string(kFileName) + " is not beside the program";
    return;
  }
  state.table = open_cuda_plugin(path, state.absence);
}

const CudaTable* cuda() { return found().table; }
const std::string& cuda_absence() { return found().absence; }

}  // namespace prentice
