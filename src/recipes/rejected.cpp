#include "recipes/rejected.h"

#include <system_error>

#include "io/file.h"

namespace prentice {

namespace fs = std::filesystem;

fs::path reject(const fs::path& from, const fs::path& final_path) {
  fs::path target = final_path;
  target += kRejectedSuffix;
  std::error_code error;
  fs::remove_all(target, error);
  if (!error) fs::rename(from, target, error);
  if (error) fail_system("keep the rejected file as", target, error.value());
  return target;
}

}  // namespace prentice
