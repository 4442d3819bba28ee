#include "recipes/repro.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "config/read.h"
#include "core/error.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "recipes/kinds.h"
#include "train/input_hashes.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// What byte comparisons of metrics cover (semantics 4.4): the rest of a line is about time.
constexpr const char* kCompared[] = {"tokens", "loss", "lr", "grad_norm", "epoch"};

std::map<int64_t, Json> metrics_by_step(const fs::path& run) {
  std::map<int64_t, Json> lines;
  const std::string text = read_text_file(run / "metrics.jsonl");
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    Json line = with_context(ExitCode::model, (run / "metrics.jsonl").string(),
                             [&] { return Json::parse(std::string_view(text).substr(begin, end - begin)); });
    if (const Json* step = line.find("step")) lines[step->as_integer()] = std::move(line);
  }
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

// The first tensor of a safetensors file whose bytes differ, with the largest difference where both are f32.
std::string first_tensor_difference(const fs::path& a, const fs::path& b) {
  const auto file_a = SafetensorsFile::open(a), file_b = SafetensorsFile::open(b);
  for (const auto& tensor : file_a.tensors()) {
    const TensorView* other = file_b.find(tensor.name);
    if (!other) return tensor.name + " is missing on one side";
    if (other->dtype != tensor.dtype || other->shape != tensor.shape) return tensor.name + " has another type or shape";
    if (std::memcmp(other->bytes.data(), tensor.bytes.data(), tensor.bytes.size()) == 0) continue;
    if (tensor.dtype != DType::f32) return tensor.name;
    double largest = 0;
    size_t count = 0;
    for (size_t at = 0; at < tensor.bytes.size(); at += sizeof(float)) {
      float x, y;
      std::memcpy(&x, tensor.bytes.data() + at, sizeof x);
      std::memcpy(&y, other->bytes.data() + at, sizeof y);
      if (std::memcmp(&x, &y, sizeof x) != 0) ++count, largest = std::max(largest, std::abs(double(x) - double(y)));
    }
    return fmt::format("{}: {} of {} values differ, by at most {:.3g}", tensor.name, count,
                       tensor.bytes.size() / sizeof(float), largest);
  }
  return "only the header differs";
}

// Files whose bytes belong to the result: everything but logs, times and the machine.
std::set<fs::path> compared_files(const fs::path& run) {
  static const std::set<std::string> kAboutTheRun = {"run.json",    "events.jsonl",  "metrics.jsonl",
                                                     "report.html", "recipe.yaml",   "SHA256SUMS",
                                                     ".lock",       "manifest.json", "pipeline.json"};
  std::set<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(run)) {
    const fs::path relative = fs::relative(entry.path(), run);
    const bool is_log = kAboutTheRun.count(relative.filename()) || *relative.begin() == "tensorboard" ||
                        relative.begin()->string().starts_with(".");
    if (entry.is_regular_file() && !is_log) files.insert(relative);
  }
  return files;
}

std::vector<std::string> file_differences(const fs::path& a, const fs::path& b) {
  const auto files_a = compared_files(a), files_b = compared_files(b);
  std::vector<std::string> differences;
  // A run that was stopped and resumed has checkpoints that the other need not have; only common ones are compared.
  const auto is_checkpoint = [](const fs::path& file) { return *file.begin() == "checkpoints"; };
  for (const auto& file : files_a) {
    if (!files_b.count(file) && is_checkpoint(file)) continue;
    if (!files_b.count(file)) {
      differences.push_back(fmt::format("{} is in {} only", file.string(), a.string()));
    } else if (sha256_file(a / file) != sha256_file(b / file)) {
      const bool tensors = file.extension() == ".safetensors";
      differences.push_back(file.string() +
                            (tensors ? ": " + first_tensor_difference(a / file, b / file) : ": bytes differ"));
    }
  }
  for (const auto& file : files_b) {
    if (!files_a.count(file) && !is_checkpoint(file))
      differences.push_back(fmt::format("{} is in {} only", file.string(), b.string()));
  }
  return differences;
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
  const Json facts = with_context(ExitCode::model, "repro", [&] { return Json::parse_file(run / "run.json"); });
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
  const fs::path target = out.empty() ? fs::path(run.string() + ".repro") : out;
  Invocation again = invocation;
  again.file = (run / "recipe.yaml").string();
  again.recipe = read_recipe_file(again.file, {"run.out=" + target.string()});
  again.kind = recipe_kind(again.recipe);
  if (const int code = run_recipe(again); code != 0) return code;
  return repro_diff(run, target, invocation);
}

}  // namespace prentice
