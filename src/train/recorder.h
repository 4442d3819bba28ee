// What steps leave behind: device scalars until the log interval, then lines in metrics.jsonl, TensorBoard points and
// the progress line. The only place where a running loop waits for the device.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/batch.h"
#include "core/tensor.h"
#include "io/json.h"
#include "run/append_file.h"
#include "run/progress.h"
#include "train/clip.h"
#include "train/loop.h"
#include "train/tensorboard.h"
#include "train/trainer_state.h"

namespace prentice {

struct StepRecord {
  int64_t step = 0;  // steps done, this one included
  double epoch = 0, lr = 0;
  int64_t input_tokens = 0;    // of the run so far
  double trained_tokens = 0;   // of the run so far
  Tensor loss, gradient_norm;  // [] on the device
  Metrics extra;
  double time = 0;
};

class Recorder {
 public:
  // Lines and points of steps past `last_saved` (-1: all) are cut. Errors (all members): `storage`.
  Recorder(const TrainConfig& config, int64_t steps, const TrainerState& start, int64_t last_saved);

  void add(StepRecord record);

  // Writes what was added. Errors: `numerical` naming the first step that `watch` saw; the steps before it are written.
  // Returns the last step's loss (NaN when nothing was added).
  double flush(const FiniteWatch& watch);

  // The same, and the throughput since the last log step, the fingerprint of `state`, and the progress line.
  double flush_and_log(const FiniteWatch& watch, const NamedTensors& state, double seconds_waited);

  void add_evaluation(int64_t step, double epoch, const std::map<std::string, double>& metrics);
  void exclude(double seconds) { excluded_ += seconds; }  // time that no step spent (evaluation, saving)
  void sync() { file_.sync(); }
  void note(const std::string& line) { printer_.note(line); }

 private:
  struct Values {  // of one record, on the host
    double loss = 0, gradient_norm = 0;
    std::map<std::string, double> extra;
  };
  std::vector<Values> read_values() const;
  void write_line(const Json& line, int64_t step, double time);
  double write_pending(const FiniteWatch& watch, const Json::Object& of_last);
  Json::Object measure(const NamedTensors& state, double seconds_waited);

  const TrainConfig& config_;
  int64_t steps_;
  AppendFile file_;
  TensorBoard board_;
  ProgressPrinter printer_;
  std::vector<StepRecord> pending_;
  Progress progress_;
  std::string lines_;  // ready for one write()
  double window_begin_, excluded_ = 0, waited_before_ = 0;
  int64_t window_step_, window_tokens_;  // totals when the window began
};

}  // namespace prentice
