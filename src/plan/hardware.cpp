#include "plan/hardware.h"

#include <c10/core/Device.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "config/configs.h"
#include "config/node.h"
#include "core/error.h"
#include "core/host.h"
#include "kernels/cuda_plugin.h"

namespace prentice {

namespace {

constexpr double kGib = 1024.0 * 1024 * 1024;
// What a LoRA step reaches of a GPU's data-sheet peak, and a core of plain f32 products (measured: 50 to 100 GFLOP/s
// on 2 cores): the time estimate is no better than these.
constexpr double kGpuShare = 0.4;
constexpr double kFlopsPerCore = 30e9;
constexpr double kLoadBytesPerSecond = 1e9;  // a local disk

Hardware described(const std::string& name) {
  const std::string path = "hardware/" + name + ".yaml";
  const auto text = read_config(path);
  if (!text) {
    std::vector<std::string> known;
    for (const auto& file : list_configs("hardware/")) known.push_back(std::filesystem::path(file).stem().string());
    const std::string near = closest_match(name, known);
    fail(ExitCode::usage, fmt::format("plan.hardware: '{}' is not under configs/hardware", name),
         near.empty() ? "" : "did you mean '" + near + "'?");
  }
  const Node node = parse_yaml(*text, path);
  const double peak = node.at("bf16_tflops").as_number() * 1e12;
  return {.name = node.at("name").as_string(),
          .is_gpu = true,
          .memory_bytes = static_cast<int64_t>(node.at("memory_gib").as_number() * kGib),
          .peak_flops = peak,
          .usable_flops = peak * kGpuShare,
          .price_per_hour = node.at("price_per_hour").as_number(),
          .currency = node.at("currency").as_string()};
}

Hardware this_machine(const std::string& device, int64_t threads) {
  if (device == "cpu") {
    return {.name = fmt::format("CPU, {} threads", threads),
            .memory_bytes = static_cast<int64_t>(host_memory_bytes()),
            .usable_flops = host_flops(threads)};
  }
  const int index = c10::Device(device).has_index() ? c10::Device(device).index() : 0;
  char name[256] = {};
  size_t free = 0, total = 0;
  if (cuda()->device_name(index, name, sizeof name) != 0 || cuda()->memory(index, &free, &total) != 0) {
    fail(ExitCode::internal, fmt::format("the driver does not answer for device {}", index));
  }
  Hardware found{.name = name, .is_gpu = true, .memory_bytes = static_cast<int64_t>(total)};
  for (const auto& file : list_configs("hardware/")) {  // the peak of a card we know, by the model name in its title
    const Hardware known = described(std::filesystem::path(file).stem().string());
    const std::string model = known.name.substr(0, known.name.rfind(' '));
    if (found.name.starts_with(model)) found.peak_flops = known.peak_flops, found.usable_flops = known.usable_flops;
  }
  return found;
}

}  // namespace

double loading_seconds(int64_t bytes) { return static_cast<double>(bytes) / kLoadBytesPerSecond; }

double host_flops(int64_t threads) { return kFlopsPerCore * static_cast<double>(threads); }

Place decide_place(RunSection& run, const std::string& name) {
  if (name.empty()) {
    const Machine machine = decide_machine(run);
    return {machine, this_machine(*run.device, machine.threads)};
  }
  const Hardware hardware = described(name);
  if (run.device == "cpu") {
    fail(ExitCode::usage, fmt::format("plan.hardware: {} is a GPU machine, but run.device is cpu", name),
         "leave one of the two out");
  }
  if (!run.device) run.device = "cuda";
  if (!run.precision) run.precision = Precision::bf16;
  if (!run.threads) run.threads = available_threads();
  const auto dtype = *run.precision == Precision::bf16 ? c10::kBFloat16 : c10::kFloat;
  const c10::Device device = *run.device == "cuda" ? c10::Device(c10::kCUDA, 0) : c10::Device(*run.device);
  return {{.device = device, .dtype = dtype, .threads = static_cast<int>(*run.threads)}, hardware};
}

}  // namespace prentice
