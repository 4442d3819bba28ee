// The one line per log interval that a person watches: its text, and where it goes (redrawn on a terminal, plain lines
// in a pipe, nothing when quiet).
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>
#include <string>

#include "core/device_memory.h"

namespace prentice {

// Whatever is not known is left out of the line.
struct Progress {
  int64_t step = 0, steps = 0;  // steps done, steps of the run
  std::optional<double> loss, lr, gradient_norm;
  std::optional<double> accuracy, margin;  // of preferences: pairs in order, mean difference of rewards
  std::optional<double> divergence;        // of a distillation: how far the student is from its teacher
  std::optional<double> cross_entropy;     // of its labels, beside that
  std::optional<double> top_k_mass;        // share of the teacher's probability in the entries that are compared
  std::optional<double> tokens_per_second;
  std::optional<double> mfu;  // share of the device's peak
  MemoryUse memory;
  std::optional<double> data_share;  // share of the time spent waiting for data
  std::optional<double> seconds_left;
};

// step 120/1000 12% | loss 1.842 | lr 9.6e-05 | gnorm 0.71 | 18.4k tok/s | 41.2% MFU | 61.3/80 GB | data 1% | ETA
// 01:12:40
std::string progress_line(const Progress& progress);

class ProgressPrinter {
 public:
  explicit ProgressPrinter(bool quiet);
  ~ProgressPrinter();  // ends a redrawn line
  ProgressPrinter(const ProgressPrinter&) = delete;

  void show(const std::string& line);  // replaces the line shown before, on a terminal
  void note(const std::string& line);  // stays

 private:
  bool quiet_, terminal_, open_line_ = false;
};

// The line of work that goes on where an earlier session stopped: tokens a second and the time left are those of this
// session.
class SessionProgress {
 public:
  // `first` of `steps` are done; a line is shown every `every` steps and at the end.
  SessionProgress(size_t first, size_t steps, int64_t every, c10::Device device, bool quiet);

  void done(int64_t tokens);  // one more step

 private:
  size_t first_, done_, steps_;
  int64_t every_, tokens_ = 0;
  c10::Device device_;
  ProgressPrinter printer_;
  double started_;
};

}  // namespace prentice
