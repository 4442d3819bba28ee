#include "artifact/stop_tokens.h"

#include <set>

#include "core/error.h"

namespace prentice {

std::vector<int32_t> stop_token_ids(const Artifact& artifact, const ModelSpec& spec, const Tokenizer& tokenizer) {
  std::set<int32_t> ids(spec.eos_ids.begin(), spec.eos_ids.end());
  const auto file = artifact.base / "generation_config.json";
  if (artifact.has_weights() && std::filesystem::exists(file)) {
    const Json config = with_context(ExitCode::model, "", [&] { return Json::parse_file(file); });
    if (const Json* eos = config.find("eos_token_id"); eos && !eos->is_null()) {
      ids.clear();
      for (const Json& id : eos->is_array() ? eos->as_array() : Json::Array{*eos}) {
        ids.insert(static_cast<int32_t>(with_context(ExitCode::model, file.string(), [&] { return id.as_integer(); })));
      }
    }
  }
  if (const auto eos = tokenizer.eos_id()) ids.insert(*eos);
  return {ids.begin(), ids.end()};
}

}  // namespace prentice
