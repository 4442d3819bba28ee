#include "recipes/verify_end.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/utf8.h"
#include "hub/cache.h"
#include "io/json.h"
#include "pages/console.h"
#include "products/products.h"
#include "proof/provenance_checks.h"
#include "proof/rejected.h"

namespace prentice {

namespace fs = std::filesystem;

std::vector<Check> origin_checks(const fs::path& file, const Artifact& model, const Invocation& invocation) {
  if (!invocation.provenance) return {};
  return provenance_checks(file, model.adapter.empty() ? model.base : model.adapter);
}

int refuse_artifact(const fs::path& artifact, const std::vector<std::string>& reasons) {
  std::error_code error;
  const bool is_refused = !std::ranges::all_of(reasons, is_of_origin) && fs::exists(artifact, error);
  if (is_refused && is_in_hub_cache(artifact)) {
    fmt::print(stderr, "{} keeps its name: it is in the Hugging Face cache, which other programs use\n",
               printable(artifact.string()));
  } else if (is_refused) {
    const fs::path kept = reject(artifact, artifact, IfRejected::number);
    fmt::print(stderr, "{} is kept as {}\n", printable(artifact.string()), printable(kept.filename().string()));
  }
  return tell_verification(reasons);
}

void print_checks(const std::vector<Check>& checks) {
  for (const auto& check : checks) {
    fmt::print("  {:<28} {}{}\n", printable(check.name), check.passed ? "passed" : "FAILED",
               check.detail.empty() ? "" : "  " + printable(check.detail));
  }
}

std::optional<std::vector<std::string>> reported_failures(const fs::path& out) try {
  std::vector<std::string> failed;
  const Json found = Json::parse_file(out / "verify.json");
  for (const Json& check : found.at("checks").as_array()) {
    if (!check.at("passed").as_bool())
      failed.push_back(fmt::format("{}: {}", check.at("name").as_string(), check.at("detail").as_string()));
  }
  return failed;
} catch (const Error&) {
  return std::nullopt;
}

int end_again(const fs::path& out, const fs::path& artifact, std::vector<std::string> reasons,
              const std::vector<Check>& origin, const Invocation& invocation) {
  std::erase_if(reasons, is_of_origin);
  for (const auto& check : origin) {
    if (!check.passed) reasons.push_back(check.name + ": " + check.detail);
  }
  if (!reasons.empty()) {
    const int code = refuse_artifact(artifact, reasons);
    if (invocation.json) print_done_json(out, reasons);
    return code;
  }
  if (!invocation.json && !invocation.inner) print_checks(origin);
  return already_done(out, invocation);
}

}  // namespace prentice
