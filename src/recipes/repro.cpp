#include "recipes/repro.h"

#include <fmt/format.h>

#include <map>
#include <optional>
#include <vector>

#include "config/read.h"
#include "core/error.h"
#include "io/lines.h"
#include "recipes/programs.h"
#include "run/input_hashes.h"
#include "run/run_files.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// What byte comparisons of metrics cover: the rest of a line is about time.
constexpr const char* kCompared[] = {"tokens", "loss", "lr", "grad_norm", "epoch"};

std::map<int64_t, Json> metrics_by_step(const fs::path& run) {
  std::map<int64_t, Json> lines;
  read_json_lines(run / "metrics.jsonl", ExitCode::model, [&](const Json& line) {
    if (const Json* step = line.find("step")) lines[step->as_integer()] = line;
  });
  return lines;
}

std::string shown(const Json* value) { return value ? value->dump() : "absent"; }

std::optional<std::string> first_metric_difference(const fs::path& a, const fs::path& b) {
  const auto lines_a = metrics_by_step(a), lines_b = metrics_by_step(b);
  for (const auto& [step, line] : lines_a) {
    const auto other = lines_b.find(step);
    if (other == lines_b.end()) return fmt::format("step {} is in {} only", step, a.string());
    for (const char* key : kCompared) {
      const Json *x = line.find(key), *y = other->second.find(key);
      const bool equal = (!x && !y) || (x && y && *x == *y);
      if (!equal) return fmt::format("step {}: {} is {} and {}", step, key, shown(x), shown(y));
    }
  }
  for (const auto& [step, line] : lines_b) {
    if (!lines_a.count(step)) return fmt::format("step {} is in {} only", step, b.string());
  }
  return std::nullopt;
}

}  // namespace

int repro_diff(const fs::path& a, const fs::path& b, const Invocation& invocation) {
  for (const auto& run : {a, b}) {
    if (!fs::exists(run / "run.json")) fail(ExitCode::usage, run.string() + ": no run.json, so no run folder");
  }
  const bool both_trained = fs::exists(a / "metrics.jsonl") && fs::exists(b / "metrics.jsonl");
  const auto step = both_trained ? first_metric_difference(a, b) : std::nullopt;
  const auto files = file_differences(a, b);
  const bool equal = !step && files.empty();
  if (invocation.json) {
    Json::Array listed(files.begin(), files.end());
    const Json result =
        Json::Object{{"schema", 1}, {"equal", equal}, {"step", step ? Json(*step) : Json()}, {"files", listed}};
    fmt::print("{}\n", result.dump());
  } else {
    if (step) fmt::print("first step   {}\n", *step);
    for (const auto& file : files) fmt::print("file         {}\n", file);
    fmt::print("{}\n", equal ? "equal: every compared step and every byte of the results" : "the runs differ");
  }
  return equal ? 0 : static_cast<int>(ExitCode::gate);
}

int repro_run(const fs::path& run, const fs::path& out, const Invocation& invocation) {
  if (!fs::exists(run / "run.json")) fail(ExitCode::usage, run.string() + ": no run.json, so no run folder");
  const Json facts = with_context(ExitCode::model, "", [&] { return Json::parse_file(run / "run.json"); });
  std::vector<Diagnostic> changed;
  if (const Json* inputs = facts.find("inputs")) {
    for (const Json& input : inputs->as_array()) {
      const std::string& path = input.at("path").as_string();
      if (!fs::exists(path)) {
        changed.push_back({.message = path + ": this input is gone"});
      } else if (sha256_of_input(path) != input.at("sha256").as_string()) {
        changed.push_back({.message = path + ": this input has changed since the run"});
      }
    }
  }
  if (!changed.empty()) throw Error(ExitCode::usage, std::move(changed));
  const fs::path whole = run.filename().empty() ? run.parent_path() : run;  // "runs/x/" is runs/x
  const fs::path target = out.empty() ? fs::path(whole.string() + ".repro") : out;
  Invocation again = invocation;
  again.file = (run / "recipe.yaml").string();
  again.recipe = read_recipe_file(again.file, {"run.out=" + target.string()});
  again.kind = recipe_kind(again.recipe);
  // Here and now: whatever an earlier comparison left is no answer. Told once, below.
  again.fresh = true;
  again.json = false;
  again.inner = true;
  const int code = run_recipe(again);
  if (code != 0 && code != static_cast<int>(ExitCode::gate)) return code;  // a gate that was missed is a result, too
  return repro_diff(run, target, invocation);
}

}  // namespace prentice
