#include "recipes/provenance_checks.h"

#include <fmt/format.h>

#include <set>

#include "core/error.h"
#include "io/gguf.h"
#include "io/json.h"
#include "io/lines.h"
#include "io/safetensors.h"
#include "proof/artifact_reading.h"
#include "run/input_hashes.h"
#include "run/origin.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

constexpr int kLevels = 3;  // RUN/gguf/FILE, RUN/merged
constexpr std::string_view kProvenanceCheck = "provenance: ";

std::string shortened(const std::string& hash) { return hash.empty() ? "nothing" : hash.substr(0, 12) + "..."; }

Check check_of(const std::string& what, bool passed, std::string detail) {
  return equal_check(std::string(kProvenanceCheck) + what, passed, std::move(detail));
}

FileOrigin with_prefix(const std::map<std::string, std::string>& metadata) {
  FileOrigin found;
  for (const auto& [key, text] : metadata) {
    if (key.starts_with("prentice.")) found[key] = text;
  }
  return found;
}

FileOrigin origin_in(const fs::path& artifact) {
  if (!is_gguf_file(artifact)) {
    const std::string name = fs::exists(artifact / "adapter_config.json") ? "adapter_model" : "model";
    const auto weights = WeightFolder::open(artifact, name);
    return with_prefix(weights.files().at(0).metadata());
  }
  std::map<std::string, std::string> texts;
  const auto file = GgufReader::open(artifact);
  for (const auto& entry : file.metadata()) {
    if (const auto* text = std::get_if<std::string>(&entry.value)) texts[entry.key] = *text;
  }
  return with_prefix(texts);
}

// The folder above that holds the artifact's run; empty: none.
fs::path run_above(const fs::path& artifact) {
  fs::path folder = fs::absolute(artifact).lexically_normal();
  for (int level = 0; level < kLevels; ++level) {
    if (!folder.has_parent_path()) break;
    folder = folder.parent_path();
    if (fs::exists(folder / "run.json") && fs::exists(folder / "recipe.yaml")) return folder;
  }
  return {};
}

// What run.json and recipe.yaml say that a file of this run must say.
FileOrigin origin_by_run(const fs::path& run, const std::vector<InputHash>& inputs, const Json& json) {
  FileOrigin origin = origin_of(read_text_file(run / "recipe.yaml"), inputs);
  const Json* program = json.at("versions").find("binary_sha256");
  origin[kOriginProgram] = program == nullptr ? "" : program->as_string();
  return origin;
}

Check input_check(const InputHash& input) {
  const std::string what = input.key + " on the disk";
  std::error_code error;
  if (!fs::exists(input.path, error)) return check_of(what, false, input.path + " is not there");
  const std::string now = sha256_of_input(input.path);
  return check_of(what, now == input.sha256,
                  now == input.sha256 ? input.path
                                      : fmt::format("{} has changed: {}, and was {}", input.path, shortened(now),
                                                    shortened(input.sha256)));
}

}  // namespace

std::vector<Check> provenance_checks(const fs::path& artifact, const fs::path& model) {
  FileOrigin said = reading_artifact([&] { return origin_in(artifact); });
  if (!said.contains(kOriginRecipe)) return {check_of("metadata", false, "it does not say what it was made of")};
  fs::path run = run_above(artifact);
  if (run.empty()) run = run_above(model);  // a copy
  if (run.empty()) {
    return {check_of("run", false,
                     "no folder above it holds the run.json of the run that wrote it, and verify.model is of no run")};
  }
  const Json json = with_context(ExitCode::model, "", [&] { return Json::parse_file(run / "run.json"); });
  const auto inputs =
      with_context(ExitCode::model, (run / "run.json").string(), [&] { return input_hashes_from(json.at("inputs")); });
  std::vector<Check> checks = {check_of("run", true, run.string())};
  const auto verification = said.extract(kOriginVerification);
  const bool is_adapter = fs::exists(artifact / "adapter_config.json");  // written before anything is verified
  if (!is_adapter) {
    const std::string text = verification.empty() ? "it does not say" : verification.mapped();
    checks.push_back(
        check_of("verification", text.starts_with("passed"), text.substr(0, text.find_last_not_of(' ') + 1)));
  }
  FileOrigin wanted = origin_by_run(run, inputs, json);
  std::set<std::string> keys;
  for (const auto* side : {&said, &wanted}) {
    for (const auto& [key, hash] : *side) keys.insert(key);
  }
  for (const auto& key : keys) {
    const std::string what = key.substr(std::string_view("prentice.").size());
    const bool equal = said[key] == wanted[key];
    checks.push_back(
        check_of(what, equal,
                 equal ? shortened(said[key])
                       : fmt::format("the file says {}, its run {}", shortened(said[key]), shortened(wanted[key]))));
  }
  for (const auto& input : inputs) checks.push_back(input_check(input));
  return checks;
}

bool is_of_origin(std::string_view reason) { return reason.starts_with(kProvenanceCheck); }

}  // namespace prentice
