#include "cli/installation.h"

#include "core/host.h"

namespace prentice {

namespace fs = std::filesystem;

fs::path program_folder() {
  const fs::path program = program_file();
  return program.empty() ? fs::current_path() : program.parent_path();
}

bool has_nvidia_driver() {
  std::error_code error;
  return fs::exists("/proc/driver/nvidia/version", error) || fs::exists("/dev/nvidiactl", error) ||
         fs::exists("/dev/dxg", error);
}

}  // namespace prentice
