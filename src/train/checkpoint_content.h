// What lies in a checkpoint of the loop and how it comes back. Separate from the loop, which decides when; and from
// run/checkpoint.h, which knows how a folder is published, not what is in it.
#pragma once

#include <filesystem>
#include <string>

#include "core/tensor.h"
#include "data/steps.h"
#include "run/provenance.h"
#include "train/loop.h"
#include "train/optimizer.h"
#include "train/trainer_state.h"

namespace prentice {

struct CheckpointContent {
  const NamedTensors& trainable;
  const Optimizer& optimizer;
  const StepSource& source;
  const std::string& recipe;  // resolved text

  uint64_t bytes() const;  // of the tensors
  // Into the empty folder `folder`; `lr` is the rate of the next step. Errors: `storage`.
  void write(const std::filesystem::path& folder, const TrainerState& state, double lr, const std::string& order) const;
  // Back into the live tensors; returns the rest. Errors: `model`, beginning with the folder.
  TrainerState restore(const std::filesystem::path& folder) const;
};

// What the bits of this run hang on. Waits for the hashes of config.inputs.
Provenance provenance_of(const TrainConfig& config, const StepSource& source);

}  // namespace prentice
