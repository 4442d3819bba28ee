// What can be known before weights load: steps, tokens, peak memory by phase, time, disk, price; and the values of
// every `auto` that depends on them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/schema.h"
#include "io/json.h"
#include "model/spec.h"
#include "recipes/machine.h"

namespace prentice {

// The machine a plan is for. Facts only: nothing here depends on what happens to be free.
struct Hardware {
  std::string name;
  bool is_gpu = false;
  int64_t memory_bytes = 0;   // total, of the device that trains
  double peak_flops = 0;      // bf16 of the data sheet; 0 = unknown
  double usable_flops = 0;    // what a training step reaches of it: the basis of the time estimate
  double price_per_hour = 0;  // 0 = unknown
  std::string currency;
};
// Where a recipe runs, or would run: what is decided there, and what the machine has.
struct Place {
  Machine machine;
  Hardware hardware;
};
// `hardware` is "" for this machine, or a name under configs/hardware, whose device and types then hold: nothing may be
// computed there. Fills what is `auto` in the section. Errors: `usage` for an unknown name, for a device that is not
// there, and for run.device: cpu on a GPU machine.
Place decide_place(RunSection&, const std::string& hardware);

// Of the host while a GPU does the work: the program, its libraries and the data.
inline constexpr int64_t kGpuHostBytes = int64_t{2} << 30;

// Bytes of the device that trains; on the CPU above those of the bare program (recipes/machine.h).
struct MemoryByPhase {
  int64_t load = 0, forward = 0, backward = 0, step = 0, eval = 0, save = 0, export_ = 0;
  int64_t peak() const;
};

// What a training step holds, as counts; bytes follow from it alone.
struct StepShape {
  ModelSpec spec;
  int64_t weight_bytes = 4;      // an element of a weight in memory
  int64_t parameters = 0;        // all weights
  int64_t trainable = 0;         // elements that train (f32, with gradient and moments)
  int64_t moments = 2;           // f32 tensors of the optimizer per trainable element
  int64_t adapter_rank_sum = 0;  // sum over adapted modules of their rank: saved products a token
  int64_t magnitude_widths = 0;  // sum over modules with a DoRA magnitude of their out features: as much a token
  int64_t adapter_frozen = 0;    // f32 elements of adapters that do not train (PiSSA's start)
  bool scaled_head = false;      // DoRA on the head: its weight is multiplied out for the loss
  int64_t micro_tokens = 0;
  int64_t longest = 0;
  bool full = false;  // the weights themselves train
  bool recompute_blocks = false;
  bool is_gpu = false;
  int64_t reference_bytes =
      0;  // of the model that a preference loss compares with, where it is not the one that trains
  bool reference_pass = false;  // every step asks it
};
// What the model and the place decide of it; the rest is the caller's.
StepShape step_shape(const ModelSpec&, const Machine&, const Hardware&);
MemoryByPhase step_memory(const StepShape&);

// Multiply-adds count twice; forward, input gradients, and weight gradients where the weights train.
double flops_per_token(const StepShape&, double mean_length);

struct Plan {
  bool fits = true;
  int64_t steps = 0;
  double tokens_per_step = 0;  // that pass through the model
  double trained_tokens = 0;   // in the whole run
  double flops_per_token = 0;  // of a training step
  double seconds = 0;
  double cost = 0;
  int64_t disk_bytes = 0;
  int64_t host_peak_bytes = 0;
  Hardware hardware;
  MemoryByPhase memory;
  std::vector<std::pair<std::string, std::string>> decided;  // key -> value of every auto
};
Json to_json(const Plan&);
std::string to_text(const Plan&);  // the table `plan` prints

}  // namespace prentice
