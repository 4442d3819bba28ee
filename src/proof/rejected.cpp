#include "proof/rejected.h"

#include <fmt/format.h>

#include <system_error>

#include "io/file.h"
#include "io/sha256.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

fs::path rejected_name(const fs::path& path, int number) {
  fs::path target = path;
  target += number == 1 ? kRejectedSuffix : fmt::format("{}.{}", kRejectedSuffix, number);
  return target;
}

// A link that leads nowhere, too.
bool is_taken(const fs::path& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

}  // namespace

fs::path reject(const fs::path& from, const fs::path& final_path, IfRejected if_rejected) {
  int number = 1;
  std::error_code error;
  if (if_rejected == IfRejected::replace) fs::remove_all(rejected_name(final_path, number), error);
  while (!error && is_taken(rejected_name(final_path, number))) ++number;
  const fs::path target = rejected_name(final_path, number);
  if (!error) fs::rename(from, target, error);
  if (error) fail_system("keep the rejected file as", target, error.value());
  return target;
}

bool is_kept(const fs::path& root, const fs::path& name, std::string_view sha256) {
  std::error_code error;
  if (fs::exists(root / name, error)) return cached_sha256_file(root / name) == sha256;
  fs::path whole = root;
  for (auto part = name.begin(); part != name.end(); ++part) {
    whole /= *part;
    for (int number = 1; is_taken(rejected_name(whole, number)); ++number) {
      fs::path file = rejected_name(whole, number);
      for (auto rest = std::next(part); rest != name.end(); ++rest) file /= *rest;
      if (fs::is_regular_file(file, error) && cached_sha256_file(file) == sha256) return true;
    }
  }
  return false;
}

}  // namespace prentice
