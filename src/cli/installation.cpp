#include "cli/installation.h"

namespace prentice {

namespace fs = std::filesystem;

fs::path program_folder() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return error ? fs::current_path() : program.parent_path();
}

bool has_nvidia_driver() {
  std::error_code error;
  return fs::exists("/proc/driver/nvidia/version", error) || fs::exists("/dev/nvidiactl", error) ||
         fs::exists("/dev/dxg", error);
}

}  // namespace prentice
