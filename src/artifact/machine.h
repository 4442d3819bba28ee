// The device, precision and threads a recipe runs on: decided once, then applied to LibTorch.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <string>

#include "config/schema.h"

namespace prentice {

struct Machine {
  c10::Device device = c10::kCPU;
  c10::ScalarType dtype = c10::kFloat;  // of frozen weights and of products
  int threads = 1;
};

// Fills run.device, run.precision and run.threads where they are `auto`. Touches no device.
// Errors: `usage` for a device that is not there.
Machine decide_machine(RunSection&);

// The device that the value of `key` names: cpu, cuda or cuda:N. Errors: `usage` for one that is not there.
c10::Device device_named(const std::string& key, const std::string& word);

// Sets LibTorch's threads and its deterministic switches.
void apply_machine(const Machine&, bool deterministic);

// The most memory the run has held so far, counted as a plan counts it (MemoryByPhase): on the CPU resident bytes above
// those of the bare program, on a GPU what its allocator took and kGpuContextBytes for the rest.
int64_t peak_bytes(const Machine&);
// Resident bytes of the bare program: to be called once, when a run begins.
void note_bare_program();

// Of memory that no tensor of a run accounts for: libraries' code and workspaces, the tokenizer; on a GPU the context.
// On a CPU as it is in the middle, by which all is decided; a plan has its own (plan/program_share.h).
inline constexpr int64_t kCpuContextBytes = int64_t{64} << 20, kGpuContextBytes = int64_t{600} << 20;

// Cores this process may use: the cgroup's quota, the affinity mask, at most 8.
int available_threads();

}  // namespace prentice
