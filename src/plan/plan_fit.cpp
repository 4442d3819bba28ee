#include "plan/plan_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <optional>

#include "artifact/open.h"
#include "config/configs.h"
#include "core/error.h"
#include "core/units.h"
#include "io/json.h"
#include "model/stored_nf4.h"
#include "plan/hardware.h"
#include "plan/plan_memory.h"
#include "run/progress.h"

namespace prentice {

namespace {

struct Method {
  const char* name;
  AdapterKind kind;
  Quantize quantize;
};
constexpr std::array<Method, 3> kMethods = {{{"qlora", AdapterKind::lora, Quantize::nf4},
                                             {"lora", AdapterKind::lora, Quantize::none},
                                             {"full", AdapterKind::full, Quantize::none}}};

constexpr int64_t kShortest = 512, kLongest = int64_t{1} << 17;
constexpr const char* kOffloads = "*";
constexpr int64_t kLeastParameters = 100'000'000;  // of the shapes that are listed unasked

struct Fit {
  int64_t row = 0;  // tokens of the longest row; 0 = none
  int64_t peak_bytes = 0;
  bool offload = false;
};

// A base that is stored in blocks or in four bits is held as it is, and cannot train whole.
bool applies(const Method& method, Quantize stored) {
  if (stored == Quantize::none) return true;
  return method.kind != AdapterKind::full && (method.quantize == Quantize::none) == (stored == Quantize::gguf);
}

int64_t step_peak(const ModelSpec& spec, const Method& method, int64_t row, bool offload) {
  const Quantize stored = stored_quantize(spec);
  StepShape shape{.spec = spec,
                  .dtype = c10::kBFloat16,
                  .quantize = stored == Quantize::none ? method.quantize : stored,
                  .is_gpu = true,
                  .parameters = parameter_count(spec),
                  .adapter = AdapterSection{.kind = method.kind},
                  .micro_tokens = row,
                  .longest = row,
                  .recomputed = Recomputed::block,
                  .offload = offload};
  return step_memory(shape).peak();
}

// Rows of powers of two, and the model's own window.
Fit longest_fit(const ModelSpec& spec, const Method& method, int64_t memory_bytes) {
  const int64_t most = std::min(spec.max_positions, kLongest);
  std::vector<int64_t> rows;
  if (!applies(method, stored_quantize(spec))) return {};
  for (int64_t row = kShortest; row < most; row *= 2) rows.push_back(row);
  rows.push_back(most);
  Fit best;
  size_t low = 0, high = rows.size();  // rows below `low` fit, from `high` on they do not
  while (low < high) {
    const size_t middle = (low + high) / 2, after = high;
    high = middle;
    for (const bool offload : {false, true}) {
      const int64_t peak = step_peak(spec, method, rows[middle], offload);
      if (peak > memory_bytes / 10 * 9) continue;
      best = {rows[middle], peak, offload};
      low = middle + 1, high = after;
      break;
    }
  }
  return best;
}

std::vector<std::string> shipped_shapes() {
  std::vector<std::string> names;
  for (const auto& path : list_configs("models/")) names.push_back(std::filesystem::path(path).stem().string());
  return names;
}

// As models are named.
std::string size_of(int64_t parameters) {
  const auto count = static_cast<double>(parameters);
  return count < 1e9 ? fmt::format("{:.0f} M", count / 1e6) : fmt::format("{:.1f} B", count / 1e9);
}

std::string cell(const Fit& fit) {
  return fit.row == 0 ? "-" : fmt::format("{}{}", fit.row, fit.offload ? kOffloads : "");
}

}  // namespace

int64_t fit_bytes(const std::string& word) {
  double number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  const std::string unit(end, word.data() + word.size());
  for (const auto& [name, size] : {std::pair("GB", 1e9), {"GiB", 1073741824.0}, {"MB", 1e6}, {"MiB", 1048576.0}}) {
    if (error == std::errc() && unit == name && number > 0 && number < 1e6) return static_cast<int64_t>(number * size);
  }
  if (error != std::errc()) {
    RunSection run;
    return decide_place(run, word).hardware.memory_bytes;
  }
  fail(ExitCode::usage, "--fit: expected a size or a name under configs/hardware, got " + word, "--fit 16GB");
}

int list_what_fits(int64_t memory_bytes, std::vector<std::string> models, const Invocation& invocation) {
  const bool unasked = models.empty();
  if (unasked) models = shipped_shapes();
  std::optional<ProgressPrinter> printer(std::in_place, invocation.quiet || invocation.json);
  Json::Array list;
  size_t width = 22;
  for (const auto& model : models) width = std::max(width, model.size());
  std::string table =
      fmt::format("{:<{}} {:>8} {:>9} {:>9} {:>9}\n", "model", width, "weights", "QLoRA", "LoRA", "full");
  bool in_blocks = false, offloads = false;
  for (const auto& model : models) {
    const ModelSpec spec = open_shape({.path = model}).spec;
    const int64_t parameters = parameter_count(spec);
    if (unasked && parameters < kLeastParameters) continue;
    printer->show("plan " + model);
    Json::Object methods;
    std::string line = fmt::format("{:<{}} {:>8}", model, width, size_of(parameters));
    in_blocks = in_blocks || stored_quantize(spec) != Quantize::none;
    for (const auto& method : kMethods) {
      const Fit fit = longest_fit(spec, method, memory_bytes);
      line += fmt::format(" {:>9}", cell(fit));
      methods.emplace_back(
          method.name, Json::Object{{"max_length", fit.row}, {"peak_bytes", fit.peak_bytes}, {"offload", fit.offload}});
      offloads = offloads || fit.offload;
    }
    table += line + "\n";
    list.push_back(Json::Object{{"model", model}, {"parameters", parameters}, {"methods", std::move(methods)}});
  }
  if (invocation.json) {
    fmt::print("{}\n",
               Json(Json::Object{{"schema", 1}, {"memory_bytes", memory_bytes}, {"models", std::move(list)}}).dump());
    return 0;
  }
  printer.reset();
  fmt::print(
      "What trains in {}: the longest row in tokens, one row at a time.\n\n{}\n"
      "bf16, LoRA of rank 16 on all linear layers, QLoRA with its base in nf4, blocks recomputed, a tenth left "
      "free.\n{}{}"
      "`prentice plan FILE plan.hardware=NAME` says what a recipe takes, part by part.\n",
      human_bytes(static_cast<double>(memory_bytes)), table,
      offloads ? "* with moments, block inputs, embedding and head in the host's memory (train.offload).\n" : "",
      in_blocks ? "A GGUF file and a folder in four bits are held as they are stored, and train an adapter only.\n"
                : "");
  return 0;
}

}  // namespace prentice
