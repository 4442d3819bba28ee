#include "recipes/verify_end.h"

#include <fmt/format.h>

#include <algorithm>

#include "recipes/console.h"
#include "recipes/products.h"
#include "recipes/provenance_checks.h"
#include "recipes/rejected.h"

namespace prentice {

namespace fs = std::filesystem;

int refuse_artifact(const fs::path& artifact, const std::vector<std::string>& reasons) {
  std::error_code error;
  if (!std::ranges::all_of(reasons, is_of_origin) && fs::exists(artifact, error)) {
    const fs::path kept = reject(artifact, artifact);
    fmt::print(stderr, "{} is kept as {}\n", artifact.string(), kept.filename().string());
  }
  return tell_verification(reasons);
}

void print_checks(const std::vector<Check>& checks) {
  for (const auto& check : checks) {
    fmt::print("  {:<28} {}{}\n", check.name, check.passed ? "passed" : "FAILED",
               check.detail.empty() ? "" : "  " + check.detail);
  }
}

int end_again(const fs::path& out, const fs::path& artifact, const std::vector<Check>& origin,
              const Invocation& invocation) {
  auto reasons = failed_checks(out);
  std::erase_if(reasons, is_of_origin);
  for (const auto& check : origin) {
    if (!check.passed) reasons.push_back(check.name + ": " + check.detail);
  }
  if (!reasons.empty()) return refuse_artifact(artifact, reasons);
  if (!invocation.json) print_checks(origin);
  return already_done(out, invocation);
}

}  // namespace prentice
