#include "proof/provenance_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "core/utf8.h"
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

struct Reported {
  size_t checks = 0, failed = 0;
};

// What verify.json says of each product of the run: its checks are named "gguf/x.gguf: tensors".
std::map<std::string, Reported> reported_products(const Json& json) {
  std::map<std::string, Reported> found;
  for (const Json& check : json.at("checks").as_array()) {
    const std::string& name = check.at("name").as_string();
    const size_t file_end = name.find(".gguf: ");  // export.name may hold what ends a name
    const size_t end = file_end == name.npos ? name.find(": ") : file_end + 5;
    Reported& product = found[end == name.npos ? "" : name.substr(0, end)];
    ++product.checks;
    product.failed += !check.at("passed").as_bool();
  }
  return found;
}

// Why verify.json does not bear out the `stamp` of the artifact; "" where it does.
std::string why_not_verified(const fs::path& artifact, const fs::path& run, const std::string& stamp) try {
  const fs::path file = run / "verify.json";
  std::error_code error;
  if (!fs::exists(file, error)) return fmt::format("the file says {}, and {} is not there", stamp, file.string());
  const Json json = Json::parse_file(file);
  const auto products = reported_products(json);
  const bool all_passed = std::ranges::all_of(products, [](const auto& one) { return one.second.failed == 0; });
  if (json.at("passed").as_bool() != all_passed) {
    return fmt::format("{} says that {} passed, and its checks {}", file.string(), all_passed ? "not all" : "all",
                       all_passed ? "all did" : "did not");
  }
  fs::path path = fs::absolute(artifact).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // FOLDER/
  const std::string own = printable(path.lexically_relative(run).generic_string());
  const bool is_named = products.contains(own);  // a copy may have another name: then any product may be it
  std::string said = "nothing of it";
  for (const auto& [name, product] : products) {
    if (is_named && name != own) continue;
    said = product.failed == 0 ? fmt::format("passed {} checks", product.checks)
                               : fmt::format("failed {} of {} checks", product.failed, product.checks);
    if (said == stamp) return "";
  }
  return fmt::format("the file says {}, {} {}", stamp, file.string(), said);
} catch (const Error& error) {
  return error.what();
}

Check verification_check(const fs::path& artifact, const fs::path& run, std::string stamp) {
  stamp.erase(stamp.find_last_not_of(' ') + 1);
  if (!stamp.starts_with("passed")) return check_of("verification", false, stamp.empty() ? "it does not say" : stamp);
  const std::string why = why_not_verified(artifact, run, stamp);
  return check_of("verification", why.empty(), why.empty() ? stamp : why);
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
  if (!is_adapter)
    checks.push_back(verification_check(artifact, run, verification.empty() ? "" : verification.mapped()));
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
