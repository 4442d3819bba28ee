#include "train/step_runner.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <utility>

#include "train/clip.h"

namespace prentice {

namespace {

// Passes over a shape before they are recorded: libraries choose their kernels and workspaces in the first.
constexpr int64_t kWarmUps = 2;
// A run has few shapes (data/fixed_shape.h). Those beyond are passed as they come: each holds memory.
constexpr size_t kMostShapes = 48;

std::vector<int64_t> sizes_of(const Batch& batch) {
  return {batch.tokens.size(0), batch.target_rows.defined() ? batch.target_rows.size(0) : 0,
          static_cast<int64_t>(batch.host_starts.size()), batch.longest};
}

void copy_tensors(Batch& from, Batch& into) {
  std::vector<Tensor> sources;
  change_tensors(from, [&](const Tensor& tensor) {
    sources.push_back(tensor);
    return tensor;
  });
  size_t next = 0;
  change_tensors(into, [&](const Tensor& tensor) {
    tensor.copy_(sources[next++], /*non_blocking=*/true);
    return tensor;
  });
}

}  // namespace

PassRecorder plain_recorder() {
  return {.warm_up = [](const std::function<void()>& pass) { pass(); },
          .record = [](const std::function<void()>& pass, std::string&) { return pass; }};
}

StepRunner::StepRunner(const Objective& objective, NamedTensors trainable, at::Device device, PassRecorder recorder)
    : objective_(objective), trainable_(std::move(trainable)), device_(device), recorder_(std::move(recorder)) {
  if (!recorder_) return;
  for (auto& [name, tensor] : trainable_) {
    if (!tensor.grad().defined()) tensor.mutable_grad() = at::zeros_like(tensor.detach());
  }
}

void StepRunner::clear_gradients() {
  if (!recorder_) return drop_gradients(trainable_);
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : trainable_) tensor.mutable_grad().zero_();  // where recorded passes add to them
}

void StepRunner::add_metrics(const Metrics& found, Metrics& metrics) const {
  for (const auto& [name, value] : found) {
    Tensor& sum = metrics[name];
    sum = sum.defined() ? sum.add(value.detach()) : value.detach().clone();
  }
}

Tensor StepRunner::run_plain(const Batch& batch, const Counts& counts, Metrics& metrics) {
  Metrics of_micro;
  const Tensor share = objective_(batch, counts, of_micro);
  share.backward();
  const at::NoGradGuard no_grad;
  add_metrics(of_micro, metrics);
  return share.detach();
}

StepRunner::Recorded& StepRunner::held_for(const Batch& batch) {
  const auto [found, is_new] = held_.try_emplace(sizes_of(batch));
  Recorded& held = found->second;
  if (!is_new) return held;
  held.batch = batch;
  change_tensors(held.batch, [&](const Tensor& tensor) {
    return at::empty_like(tensor, tensor.options().device(device_).pinned_memory(false));
  });
  // The step's count is in the weights instead of in a number that a recording would keep. token_shares divides in
  // f64, so the shares have the same bits.
  if (held.batch.weights.defined()) held.batch.weights = held.batch.weights.to(at::kDouble);
  held.share = at::zeros({}, at::TensorOptions().device(device_).dtype(at::kDouble));
  return held;
}

Tensor StepRunner::run_recorded(Recorded& held, Metrics& metrics) {
  const auto pass = [this, &held] {
    held.metrics.clear();
    const Tensor share = objective_(held.batch, {.tokens = 1}, held.metrics);
    share.backward();
    const at::NoGradGuard no_grad;
    held.share.copy_(share.detach());
    for (auto& [name, value] : held.metrics) value = value.detach();
  };
  if (held.uses++ < kWarmUps) {
    recorder_.warm_up(pass);
  } else {
    if (!held.replay) held.replay = recorder_.record(pass, failure_);
    if (held.replay) {
      held.replay();
      ++replays_;
    } else {
      recorder_.warm_up(pass);
    }
  }
  add_metrics(held.metrics, metrics);
  return held.share;
}

Tensor StepRunner::run(Batch batch, const Counts& counts, Metrics& metrics) {
  if (!recorder_) return run_plain(to_device(std::move(batch), device_), counts, metrics);
  const bool full = held_.size() >= kMostShapes && !held_.contains(sizes_of(batch));
  if (full || !failure_.empty()) return run_plain(to_device(std::move(batch), device_), counts, metrics);
  Recorded& held = held_for(batch);
  {
    const at::NoGradGuard no_grad;
    copy_tensors(batch, held.batch);
    if (held.batch.weights.defined()) held.batch.weights.div_(counts.tokens);
  }
  held.batch.host_starts = batch.host_starts;
  return run_recorded(held, metrics);
}

}  // namespace prentice
