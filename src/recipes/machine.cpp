#include "recipes/machine.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>

#include "core/device_memory.h"
#include "core/error.h"
#include "kernels/cuda_plugin.h"

namespace prentice {

namespace {

// cpu.max of cgroup v2: "QUOTA PERIOD", or "max PERIOD". 0 = no limit known.
int cgroup_cores() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::max(1, static_cast<int>(std::floor(std::atof(quota.c_str()) / period)));
}

int64_t g_bare_bytes = 0;  // set once, before anything is loaded

// A line of /proc/self/status ("VmHWM:  123 kB") in bytes.
int64_t status_bytes(std::string_view key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) return std::atoll(line.c_str() + key.size()) * 1024;
  }
  return 0;
}

}  // namespace

c10::Device device_named(const std::string& key, const std::string& word) {
  if (word == "cpu") return c10::kCPU;
  const c10::Device device = word == "cuda" ? c10::Device(c10::kCUDA, 0) : c10::Device(word);
  if (!cuda() || device.index() >= cuda()->device_count()) {
    fail(ExitCode::usage, fmt::format("{}: '{}' is not there{}", key, word, cuda() ? "" : ": " + cuda_absence()),
         "`prentice doctor` says what is missing");
  }
  return device;
}

int available_threads() {
  cpu_set_t mask;
  int cores = sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 1;
  if (const int quota = cgroup_cores(); quota > 0) cores = std::min(cores, quota);
  return std::clamp(cores, 1, 8);
}

void note_bare_program() { g_bare_bytes = status_bytes("VmRSS:"); }

int64_t peak_bytes(const Machine& machine) {
  if (!machine.device.is_cuda()) return std::max<int64_t>(0, status_bytes("VmHWM:") - g_bare_bytes);
  return static_cast<int64_t>(memory_use(machine.device).used) + kGpuContextBytes;
}

Machine decide_machine(RunSection& run) {
  if (!run.device) run.device = cuda() ? "cuda" : "cpu";
  Machine machine{.device = device_named("run.device", *run.device)};
  if (!run.precision) run.precision = machine.device.is_cuda() ? Precision::bf16 : Precision::f32;
  if (!run.threads) run.threads = available_threads();
  machine.dtype = *run.precision == Precision::bf16 ? c10::kBFloat16 : c10::kFloat;
  machine.threads = static_cast<int>(*run.threads);
  return machine;
}

void apply_machine(const Machine& machine, bool deterministic) {
  at::set_num_threads(machine.threads);
  auto& context = at::globalContext();
  // warn_only must be false: flash attention's backward takes its deterministic form only then.
  context.setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
  context.setDeterministicFillUninitializedMemory(false);
  context.setDeterministicCuDNN(deterministic);
  context.setBenchmarkCuDNN(!deterministic);
  context.setAllowTF32CuBLAS(false);
  context.setAllowTF32CuDNN(false);
}

}  // namespace prentice
