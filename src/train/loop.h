// THE loop: steps in, shares added up, one optimizer move, metrics and checkpoints out. Knows no model and no
// objective.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "config/schema.h"
#include "core/batch.h"
#include "core/tensor.h"
#include "data/steps.h"
#include "run/input_hashes.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/step_runner.h"

namespace prentice {

// Everything decided: no `auto` is left.
struct TrainConfig {
  std::filesystem::path out;  // the run folder
  std::string run_id;
  int64_t log_every = 10;
  int64_t checkpoint_every = 0;  // steps; 0 = each epoch and every 30 minutes
  int64_t keep = 2;
  int64_t eval_every = 0;  // steps; 0 = at start, each epoch, end
  Select select = Select::last;
  int64_t patience = 0;
  OptimizerOptions optimizer;
  ScheduleOptions schedule;    // `steps` is the source's
  double clip = 1;             // of the gradient's norm; 0 = off
  double flops_per_token = 0;  // for MFU; 0 = unknown
  double peak_flops = 0;       // of the device; 0 = unknown
  at::Device device = at::kCPU;
  PassRecorder recorder;                // there with train.graph
  std::string recipe;                   // resolved text: lies in every checkpoint, and a resume must have the same one
  std::shared_ptr<InputHashes> inputs;  // of everything the run reads; may be empty
  bool quiet = false;                   // no progress line
};

// What the loop asks of the recipe. Any may be empty.
struct Hooks {
  std::function<void(const std::filesystem::path& folder)> save_model;  // writes the trained weights into a checkpoint
  std::function<std::map<std::string, double>()> evaluate;              // {"eval.loss": ...}
  std::function<void(int64_t step)> before_step;                        // sets the dropout counter
  std::function<void(Step&)> see_step;  // host tensors, before the step's first share; may change the step
};

struct TrainResult {
  int64_t steps = 0;
  std::optional<int64_t> best_step;  // of the best evaluation; none without one
  std::string selected_by;           // "eval.loss": the weights are those of best_step; "" = of the last step
  double last_loss = 0, best_metric = 0, wall_seconds = 0;
  std::map<std::string, double> first_eval, last_eval;
  int64_t input_tokens = 0, trained_tokens = 0;
};

// Continues from the newest good checkpoint of config.out, or publishes step-00000000 and starts.
// With config.select the tensors end as they were at the best step.
// Errors: `internal` for config.select or patience without hooks.evaluate; `numerical` for a non-finite loss or
// gradient, naming the first bad step; `storage`; Stopped for signals.
TrainResult train(const TrainConfig&, const NamedTensors& trainable, const StepSource&, const Objective&, const Hooks&);

}  // namespace prentice
