#include "run/run_base.h"

#include <fmt/format.h>

#include "core/error.h"
#include "io/json.h"
#include "run/input_hashes.h"
#include "run/run_folder.h"

namespace prentice {

namespace fs = std::filesystem;

void require_same_base(const fs::path& run, const fs::path& base, const fs::path& adapter) {
  const fs::path file = run / "run.json";
  if (!fs::exists(file)) return;
  const Json facts = with_context(ExitCode::model, "", [&] { return Json::parse_file(file); });
  const Json* list = facts.find("inputs");
  if (!list) return;
  auto inputs = with_context(ExitCode::model, file.string(), [&] { return input_hashes_from(*list); });
  if (inputs.empty()) inputs = inputs_of_newest_checkpoint(run);  // it was stopped
  for (const auto& input : inputs) {
    if (input.key != "model.path") continue;
    const std::string now = sha256_of_input(base);
    if (now == input.sha256) continue;
    fail(ExitCode::model,
         fmt::format("{}: its base {} has changed since it was trained: its SHA-256 is {}..., and was {}...",
                     run.string(), base.string(), now.substr(0, 12), input.sha256.substr(0, 12)),
         fmt::format("put back what was there, or name both to use it as it is: {}+{}", base.string(),
                     adapter.string()));
  }
}

}  // namespace prentice
