// What can be known before weights load: steps, tokens, peak memory by phase, time, disk, price; and the values of
// every `auto` that depends on them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/schema.h"
#include "data/lengths.h"
#include "distill/stored_teacher.h"
#include "io/json.h"
#include "plan/plan_memory.h"

namespace prentice {

// Tokens of answers with their prompts.
struct PairLengths {
  LengthStats chosen, rejected;
};

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
  std::optional<TaughtRows> taught;                          // of a distillation from a store
  std::optional<PairLengths> pairs;                          // of preferences
  std::string reference;                                     // of preferences: where it comes from
  std::string advice;  // of a training run that does not fit: the smallest change that does, or what is in the way
  std::vector<std::string> nearest;      // that change, as words to be appended to the command
  int64_t nearest_peak = 0;              // bytes with it
  std::function<std::string()> smaller;  // of a training run: what would take a quarter less
};

// Of the host while a GPU does the work: the program, its libraries and the data.
inline constexpr int64_t kGpuHostBytes = int64_t{2} << 30;

// On the disk: what export.merged and export.gguf ask for, and all weights where they trained.
int64_t product_bytes(const ExportSection&, const StepShape&);
// Of what is read back and run beside the model; the whole model, too, where all of it was trained.
int64_t proof_bytes(const ExportSection&, const StepShape&, bool is_full);

// Of a training run with its products and their proof, beside which the trained model stays where it is.
MemoryByPhase run_memory(const StepShape&, const ExportSection&);

// Of a model that is only scored or asked, and of one that is exported tensor by tensor. `shape` is step_shape's; with
// micro_tokens, it says how large the batches are.
Plan scoring_plan(StepShape shape, const Hardware&);
Plan export_plan(const StepShape& shape, const ExportSection&, const Hardware&);

// Steps of linear rise: optim.warmup, a share rounded up; without it 3 % and at least 5.
double warmup_steps(const OptimSection&, int64_t steps);

// Errors: `memory`, saying what is needed, what is there, and the smallest change that fits, or what is in the way.
[[noreturn]] void refuse_plan(const Plan&);

Json to_json(const Plan&);
std::string to_text(const Plan&);  // the table `plan` prints

}  // namespace prentice
