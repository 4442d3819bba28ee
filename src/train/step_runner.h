// Forward and backward of the micro-batches of a step. Where the device can record what is launched on it, the passes
// of each shape of batch are recorded once, on tensors that stay where they are, and run again from then on, which
// spares a small model the time of its launches.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/batch.h"
#include "core/tensor.h"

namespace prentice {

// How a device records. Both are there, or none.
struct PassRecorder {
  // Runs `pass` as it is: what it asks for the first time (workspaces, tables) must not be asked for while recording.
  std::function<void(const std::function<void()>& pass)> warm_up;
  // Records what `pass` would run. Returns what replays it; empty with `reason` where it could not be recorded, and
  // then nothing ran.
  std::function<std::function<void()>(const std::function<void()>& pass, std::string& reason)> record;

  explicit operator bool() const { return static_cast<bool>(record); }
};

// Runs each pass again: the form without a device. What it does not do is keep memory and launches as they were.
PassRecorder plain_recorder();

class StepRunner {
 public:
  // Without a recorder every batch is passed as it comes. With one, an objective must launch the same for batches of
  // one shape, read of a batch's counts only `tokens`, and that through token_shares.
  StepRunner(const Objective& objective, NamedTensors trainable, at::Device device, PassRecorder recorder);

  // Adds the gradients of a host batch's share to those of the trainable tensors, and its metrics to `metrics`.
  // Returns the share, valid until the next call.
  Tensor run(Batch batch, const Counts& counts, Metrics& metrics);

  // Gradients are zero, or gone, before the next step.
  void clear_gradients();

  int64_t replays() const { return replays_; }             // passes that were run again
  const std::string& failure() const { return failure_; }  // why nothing is recorded any more; "" = it is

 private:
  // One shape of batch: its tensors, and what the passes over them leave.
  struct Recorded {
    Batch batch;
    Tensor share;  // [] f64
    Metrics metrics;
    int64_t uses = 0;
    std::function<void()> replay;
  };
  Tensor run_plain(const Batch& batch, const Counts& counts, Metrics& metrics);
  Tensor run_recorded(Recorded& held, Metrics& metrics);
  Recorded& held_for(const Batch& batch);
  void add_metrics(const Metrics& found, Metrics& metrics) const;

  const Objective& objective_;
  NamedTensors trainable_;
  at::Device device_;
  PassRecorder recorder_;
  std::map<std::vector<int64_t>, Recorded> held_;  // by the sizes of the batch's tensors
  int64_t replays_ = 0;
  std::string failure_;
};

}  // namespace prentice
