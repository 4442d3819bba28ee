#include "artifact/machine.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>

#include "core/device_memory.h"
#include "core/error.h"
#include "core/host.h"
#include "kernels/cuda_plugin.h"

namespace prentice {

namespace {

int64_t g_bare_bytes = 0;  // set once, before anything is loaded

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
  if (const double quota = quota_cores(); quota > 0) cores = std::min(cores, static_cast<int>(quota));
  return std::clamp(cores, 1, 8);
}

void note_bare_program() { g_bare_bytes = static_cast<int64_t>(process_bytes("VmRSS")); }

int64_t peak_bytes(const Machine& machine) {
  if (!machine.device.is_cuda())
    return std::max<int64_t>(0, static_cast<int64_t>(process_bytes("VmHWM")) - g_bare_bytes);
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
