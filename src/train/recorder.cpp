#include "train/recorder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "run/clock.h"
#include "train/state_hash.h"

namespace prentice {

namespace {

constexpr int kMetricsSchema = 1;
constexpr const char* kBoardPrefix = "train/";

// eval.loss -> eval/loss: TensorBoard groups by what stands before the slash.
std::string board_tag(std::string name) {
  const auto dot = name.find('.');
  if (dot == std::string::npos) return kBoardPrefix + name;
  name[dot] = '/';
  return name;
}

// "nan" whatever its sign, which means nothing.
double unsigned_nan(double value) { return std::isnan(value) ? std::abs(value) : value; }

// The step of a line that write_line wrote; a line without one belongs to no step and counts as past all of them.
int64_t step_of_line(std::string_view line) {
  constexpr std::string_view kKey = "\"step\": ";
  const auto key = line.find(kKey);
  int64_t step = std::numeric_limits<int64_t>::max();
  if (key != std::string_view::npos) std::from_chars(line.data() + key + kKey.size(), line.data() + line.size(), step);
  return step;
}

}  // namespace

Recorder::Recorder(const TrainConfig& config, int64_t steps, const TrainerState& start, int64_t last_saved)
    : config_(config),
      steps_(steps),
      file_([&] {
        const auto path = config.out / "metrics.jsonl";
        cut_lines(path, [&](std::string_view line) { return step_of_line(line) <= last_saved; });
        return AppendFile(path);
      }()),
      board_(config.out / "tensorboard", last_saved),
      printer_(config.quiet),
      window_begin_(monotonic_seconds()),
      window_step_(start.step),
      window_tokens_(start.input_tokens) {
  progress_.step = start.step;
  progress_.steps = steps;
}

void Recorder::add(StepRecord record) {
  record.time = wall_time();
  pending_.push_back(std::move(record));
}

std::vector<Recorder::Values> Recorder::read_values() const {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> scalars;
  const auto collect = [&](const Tensor& scalar) {
    scalars.push_back(scalar.detach().reshape({}).to(config_.device, at::kDouble));
  };
  for (const auto& record : pending_) {
    collect(record.loss);
    collect(record.gradient_norm);
    for (const auto& [name, value] : record.extra) collect(value);
  }
  if (scalars.empty()) return {};
  const Tensor host = at::stack(scalars).cpu();  // one copy for the whole interval
  const double* next = host.const_data_ptr<double>();
  std::vector<Values> values;
  for (const auto& record : pending_) {
    Values of_record{.loss = *next++, .gradient_norm = *next++};
    for (const auto& [name, value] : record.extra) of_record.extra[name] = *next++;
    values.push_back(std::move(of_record));
  }
  return values;
}

void Recorder::write_line(const Json& line, int64_t step, double time) {
  lines_ += line.dump() + "\n";
  for (const auto& [name, value] : line.as_object()) {
    const bool point = value.is_number() && name != "schema" && name != "step" && name != "time";
    if (point) board_.scalar(board_tag(name), step, time, value.as_number());
  }
}

double Recorder::write_pending(const FiniteWatch& watch, const Json::Object& of_last) {
  const int64_t bad = pending_.empty() ? -1 : watch.first_bad_step();
  const auto values = read_values();
  double loss = std::numeric_limits<double>::quiet_NaN();
  for (size_t i = 0; i < pending_.size(); ++i) {
    const auto& record = pending_[i];
    if (bad >= 0 && record.step >= bad) break;
    loss = values[i].loss;
    Json::Object line = {{"schema", kMetricsSchema},
                         {"run_id", config_.run_id},
                         {"step", record.step},
                         {"time", record.time},
                         {"epoch", record.epoch},
                         {"tokens", record.input_tokens},
                         {"trained_tokens", record.trained_tokens},
                         {"loss", loss},
                         {"lr", record.lr},
                         {"grad_norm", values[i].gradient_norm}};
    for (const auto& [name, value] : values[i].extra) line.emplace_back(name, value);
    if (i + 1 == pending_.size()) line.insert(line.end(), of_last.begin(), of_last.end());
    write_line(line, record.step, record.time);
    progress_.step = record.step;
    progress_.loss = loss;
    progress_.lr = record.lr;
    progress_.gradient_norm = values[i].gradient_norm;
    for (const auto& [name, value] : values[i].extra) {
      if (name == "accuracy") progress_.accuracy = value;
      if (name == "margin") progress_.margin = value;
      if (name == "divergence") progress_.divergence = value;
      if (name == "cross_entropy") progress_.cross_entropy = value;
      if (name == "top_k_mass") progress_.top_k_mass = value;
    }
  }
  file_.append(lines_);
  board_.flush();
  lines_.clear();
  if (bad >= 0) {
    const auto& at_bad = values[static_cast<size_t>(bad - pending_.front().step)];
    fail(ExitCode::numerical,
         fmt::format("step {}: not finite: loss {}, gradient norm {}; no weight has moved since step {}", bad,
                     unsigned_nan(at_bad.loss), unsigned_nan(at_bad.gradient_norm), bad - 1),
         "lower optim.lr or raise optim.warmup; look at that step's rows with `prentice audit`");
  }
  pending_.clear();
  return loss;
}

double Recorder::flush(const FiniteWatch& watch) { return write_pending(watch, {}); }

Json::Object Recorder::measure(const NamedTensors& state, double seconds_waited) {
  const double now = monotonic_seconds();
  const auto& last = pending_.back();
  const double seconds = std::max(now - window_begin_ - excluded_, 1e-9);
  const auto steps = static_cast<double>(last.step - window_step_);
  const auto tokens = static_cast<double>(last.input_tokens - window_tokens_);
  const double waited = std::clamp((seconds_waited - waited_before_) / seconds, 0.0, 1.0);
  progress_.memory = memory_use(config_.device);
  Json::Object measured;
  if (tokens > 0) {
    progress_.tokens_per_second = tokens / seconds;
    measured.emplace_back("tokens_per_second", tokens / seconds);
    if (config_.flops_per_token > 0 && config_.peak_flops > 0) {
      progress_.mfu = config_.flops_per_token * tokens / seconds / config_.peak_flops;
      measured.emplace_back("mfu", *progress_.mfu);
    }
  }
  if (steps > 0) progress_.seconds_left = seconds / steps * static_cast<double>(steps_ - last.step);
  progress_.data_share = waited;
  if (progress_.memory.used > 0) measured.emplace_back("memory", static_cast<int64_t>(progress_.memory.used));
  measured.emplace_back("data_share", waited);
  measured.emplace_back("state", state_hash(state));
  window_begin_ = now;
  window_step_ = last.step;
  window_tokens_ = last.input_tokens;
  waited_before_ = seconds_waited;
  excluded_ = 0;
  return measured;
}

double Recorder::flush_and_log(const FiniteWatch& watch, const NamedTensors& state, double seconds_waited) {
  if (pending_.empty()) return flush(watch);
  watch.first_bad_step();  // waits for the device, so that the clock below has seen the steps
  const auto measured = measure(state, seconds_waited);
  const double loss = write_pending(watch, measured);
  printer_.show(progress_line(progress_));
  return loss;
}

void Recorder::add_evaluation(int64_t step, double epoch, const std::map<std::string, double>& metrics) {
  const double now = wall_time();
  Json::Object line = {
      {"schema", kMetricsSchema}, {"run_id", config_.run_id}, {"step", step}, {"time", now}, {"epoch", epoch}};
  std::string note = fmt::format("step {}/{} evaluated", step, steps_);
  for (const auto& [name, value] : metrics) {
    line.emplace_back(name, value);
    note += fmt::format(" | {} {:.4g}", name, value);
  }
  write_line(line, step, now);
  file_.append(lines_);
  board_.flush();
  lines_.clear();
  printer_.note(note);
}

}  // namespace prentice
