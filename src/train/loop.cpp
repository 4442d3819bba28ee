#include "train/loop.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "core/error.h"
#include "io/file.h"
#include "run/checkpoint.h"
#include "run/clock.h"
#include "run/events.h"
#include "run/manifest.h"
#include "run/provenance.h"
#include "run/signals.h"
#include "train/checkpoint_content.h"
#include "train/clip.h"
#include "train/prefetch.h"
#include "train/recorder.h"
#include "train/trained_weights.h"
#include "train/trainer_state.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr double kSaveSeconds = 30 * 60;   // between checkpoints, where the recipe names no number of steps
constexpr uint64_t kSmallFiles = 1 << 20;  // bytes of a checkpoint beside its tensors
class Loop {
 public:
  Loop(const TrainConfig& config, const NamedTensors& trainable, const StepSource& source, const Objective& objective,
       const Hooks& hooks);
  TrainResult run();

 private:
  void resume_or_start();
  void take_step();
  Tensor accumulate_gradients(Step& step, Metrics& extra);
  void flush();
  void evaluate();
  void save();
  void select_best();

  bool finished() const;
  bool evaluation_due() const;
  bool save_due() const;
  bool log_due() const {
    return state_.step % config_.log_every == 0 || state_.step == source_.size() || state_.step == 1;
  }
  bool at_epoch_end() const { return state_.step % source_.steps_in_epoch() == 0 || state_.step == source_.size(); }
  double epoch() const { return static_cast<double>(state_.step) / static_cast<double>(source_.steps_in_epoch()); }
  double rate() const { return config_.optimizer.lr * schedule_factor(schedule_, state_.step); }
  const Provenance& provenance();
  NamedTensors all_state() const;

  const TrainConfig& config_;
  const NamedTensors& trainable_;
  const StepSource& source_;
  const Hooks& hooks_;
  ScheduleOptions schedule_;
  Optimizer optimizer_;
  CheckpointContent content_;
  StepRunner runner_;
  FiniteWatch watch_;
  EventLog events_;
  Checkpoints checkpoints_;
  TrainerState state_;
  std::optional<Provenance> provenance_;
  std::optional<Recorder> recorder_;
  std::optional<Prefetcher> prefetcher_;
  int64_t saved_step_ = -1;
  bool new_best_ = false;  // not saved yet
  bool told_unrecorded_ = false;
  double begin_ = monotonic_seconds(), seconds_before_ = 0, last_save_ = monotonic_seconds();
};

Loop::Loop(const TrainConfig& config, const NamedTensors& trainable, const StepSource& source,
           const Objective& objective, const Hooks& hooks)
    : config_(config),
      trainable_(trainable),
      source_(source),
      hooks_(hooks),
      schedule_(config.schedule),
      optimizer_(config.optimizer, trainable),
      content_{trainable, optimizer_, source, config.recipe},
      runner_(objective, trainable, config.device, config.recorder),
      watch_(config.device),
      events_(config.out),
      checkpoints_(config.out, events_) {
  schedule_.steps = source.size();
}

// Made when first asked for: hashing the inputs goes on beside the start of the run until then.
const Provenance& Loop::provenance() {
  if (!provenance_) provenance_ = provenance_of(config_, source_);
  return *provenance_;
}

NamedTensors Loop::all_state() const {
  NamedTensors all = trainable_;
  for (auto& named : optimizer_.state()) all.push_back(std::move(named));
  return all;
}

void Loop::resume_or_start() {
  if (auto found = checkpoints_.newest()) {
    const auto before = with_context(ExitCode::model, found->folder.string(), [&] {
      seconds_before_ = found->manifest.at("wall_seconds").as_number();
      return provenance_from(found->manifest, read_text_file(found->folder / "recipe.yaml"));
    });
    const auto& now = provenance();
    require_same(before, now, fmt::format("{}, step {}", config_.out.string(), found->step));
    if (before.binary != now.binary)
      events_.warn("this program is not the one that wrote the checkpoint: bits may differ");
    state_ = content_.restore(found->folder);
    saved_step_ = state_.step;
    events_.write("resume", {{"step", state_.step}, {"checkpoint", found->folder.filename().string()}});
  }
  recorder_.emplace(config_, source_.size(), state_, saved_step_);
  if (saved_step_ >= 0) recorder_->note(fmt::format("continuing from step {}/{}", state_.step, source_.size()));
  if (!finished()) prefetcher_.emplace(source_, state_.step, config_.device);
}

bool Loop::finished() const {
  if (state_.step >= source_.size()) return true;
  return config_.patience > 0 && state_.evaluations_since_best >= config_.patience;
}

bool Loop::evaluation_due() const {
  if (!hooks_.evaluate || state_.evaluated_step == state_.step) return false;
  if (state_.step == 0 || state_.step == source_.size()) return true;
  return config_.eval_every > 0 ? state_.step % config_.eval_every == 0 : at_epoch_end();
}

bool Loop::save_due() const {
  if (saved_step_ == state_.step) return false;
  if (state_.step == 0 || finished() || stop_signal() != 0 || new_best_) return true;
  if (config_.checkpoint_every > 0) return state_.step % config_.checkpoint_every == 0;
  return at_epoch_end() || monotonic_seconds() - last_save_ > kSaveSeconds;
}

Tensor Loop::accumulate_gradients(Step& step, Metrics& extra) {
  Tensor loss = at::zeros({}, at::TensorOptions().device(config_.device).dtype(at::kDouble));
  for (auto& micro : step.micros) {
    const Tensor share = runner_.run(std::move(micro), step.counts, extra);
    const at::NoGradGuard no_grad;
    loss.add_(share);
  }
  if (!runner_.failure().empty() && !told_unrecorded_) {
    events_.warn("train.graph: the passes are not recorded, and run as without it: " + runner_.failure());
    told_unrecorded_ = true;
  }
  return loss;
}

void Loop::take_step() {
  if (hooks_.before_step) hooks_.before_step(state_.step);
  Step step = prefetcher_->next();
  if (hooks_.see_step) hooks_.see_step(step);
  StepRecord record{.lr = rate()};
  record.loss = accumulate_gradients(step, record.extra);
  const auto gradients = gradients_of(trainable_);
  record.gradient_norm = global_norm(gradients);
  watch_.observe(record.loss, record.gradient_norm, state_.step + 1);
  if (config_.clip > 0) clip_by_norm(gradients, record.gradient_norm, config_.clip);
  optimizer_.step(record.lr, gradients, watch_.skip());
  runner_.clear_gradients();

  ++state_.step;
  state_.input_tokens += step.input_tokens;
  state_.trained_tokens += step.counts.tokens;
  record.step = state_.step;
  record.epoch = epoch();
  record.input_tokens = state_.input_tokens;
  record.trained_tokens = state_.trained_tokens;
  recorder_->add(std::move(record));
  if (log_due()) state_.last_loss = recorder_->flush_and_log(watch_, all_state(), prefetcher_->seconds_waited());
}

void Loop::flush() {
  if (const double loss = recorder_->flush(watch_); !std::isnan(loss)) state_.last_loss = loss;
}

void Loop::evaluate() {
  flush();  // lines stand in the order of steps, and nobody evaluates weights that are not finite
  const double begin = monotonic_seconds();
  const auto metrics = hooks_.evaluate();
  recorder_->exclude(monotonic_seconds() - begin);
  if (stop_signal() != 0) return;  // perhaps cut short: the resumed run evaluates this step again
  for (const auto& [name, value] : metrics) {
    if (!std::isfinite(value)) fail(ExitCode::numerical, fmt::format("step {}: {} is {}", state_.step, name, value));
  }
  if (saved_step_ == state_.step) saved_step_ = -1;  // that checkpoint does not know this evaluation
  new_best_ = note_evaluation(state_, config_.select, metrics) && config_.select != Select::last;
  recorder_->add_evaluation(state_.step, epoch(), metrics);
}

void Loop::save() {
  flush();
  const double begin = monotonic_seconds();
  require_finite(trainable_, state_.step);
  recorder_->sync();
  Json::Object facts = {
      {"step", state_.step}, {"time", wall_time()}, {"wall_seconds", seconds_before_ + begin - begin_}};
  const Json from = to_json(provenance());
  facts.insert(facts.end(), from.as_object().begin(), from.as_object().end());
  checkpoints_.save(state_.step, std::max(content_.bytes(), checkpoints_.last_bytes()) + kSmallFiles, std::move(facts),
                    [&](const fs::path& folder) {
                      if (hooks_.save_model) hooks_.save_model(folder);
                      content_.write(folder, state_, rate(), provenance().order);
                    });
  saved_step_ = state_.step;
  new_best_ = false;
  last_save_ = monotonic_seconds();
  events_.write("save", {{"step", state_.step},
                         {"bytes", static_cast<int64_t>(checkpoints_.last_bytes())},
                         {"seconds", last_save_ - begin}});
  checkpoints_.thin_out(config_.keep, state_.best_step);
  recorder_->exclude(monotonic_seconds() - begin);
}

// The selected step's weights stay in memory: what the recipe exports next is what was selected.
void Loop::select_best() {
  if (config_.select == Select::last || state_.best_step == state_.step) return;
  if (!state_.best_step)
    fail(ExitCode::internal, "train.select: no evaluation gave " + selecting_metric(config_.select));
  const auto folder = checkpoint_folder(config_.out, *state_.best_step);
  if (const auto damage = damage_of(folder); !damage.empty()) {
    fail(ExitCode::model, fmt::format("{}, the selected checkpoint: {}", folder.string(), damage));
  }
  restore_trained(folder, trainable_);
}

TrainResult Loop::run() {
  if (source_.size() <= 0) fail(ExitCode::data, "there is nothing to train on: the data makes no step");
  if (!hooks_.evaluate && (config_.select != Select::last || config_.patience > 0)) {
    fail(ExitCode::internal, "train.select: there are no held-out rows to select a step by");
  }
  resume_or_start();
  for (;;) {
    if (evaluation_due() && stop_signal() == 0) evaluate();
    if (save_due()) save();
    if (finished() && !evaluation_due()) break;
    throw_if_stopped(kContinues);
    take_step();
  }
  select_best();
  return {.steps = state_.step,
          .best_step = state_.best_step,
          .selected_by = config_.select == Select::last ? "" : selecting_metric(config_.select),
          .last_loss = state_.last_loss,
          .best_metric = state_.best_metric,
          .wall_seconds = seconds_before_ + monotonic_seconds() - begin_,
          .first_eval = state_.first_eval,
          .last_eval = state_.last_eval,
          .input_tokens = state_.input_tokens,
          .trained_tokens = static_cast<int64_t>(std::llround(state_.trained_tokens))};
}

}  // namespace

TrainResult train(const TrainConfig& config, const NamedTensors& trainable, const StepSource& source,
                  const Objective& objective, const Hooks& hooks) {
  return Loop(config, trainable, source, objective, hooks).run();
}

}  // namespace prentice
