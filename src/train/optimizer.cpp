#include "train/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_sign.h>
#include <ATen/ops/_foreach_sub.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rsub.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "core/error.h"

namespace prentice {

namespace {

// w *= 1 - lr * decay; exactly w when `skip` is 1.
void decay_weights(const std::vector<Tensor>& weights, const Tensor& lr, double weight_decay, const Tensor& skip) {
  if (weight_decay == 0) return;
  const Tensor share = at::rsub(skip, 1).mul(lr).mul(weight_decay);
  at::_foreach_mul_(weights, at::rsub(share, 1).to(weights.front().scalar_type()));
}

// The fused kernels write past autograd's counters, by which others see that weights have other values
// (nn/served_weight.h) and backward passes that what they kept is gone.
void count_change(const std::vector<Tensor>& weights) {
  for (const Tensor& weight : weights) weight.unsafeGetTensorImpl()->bump_version();
}

double rate_factor(const OptimizerOptions& options, const std::string& name, const Tensor& tensor) {
  if (options.lr_ratio == 1) return 1;
  if (name.find(".lora_embedding_") != std::string::npos) return kEmbeddingRate / options.lr;
  return name.ends_with("lora_B.weight") || tensor.dim() == 1 ? options.lr_ratio : 1;
}

}  // namespace

int64_t moments_per_weight(OptimizerName name, double beta1) {
  if (name == OptimizerName::sgd) return beta1 == 0 ? 0 : 1;
  return name == OptimizerName::lion ? 1 : 2;
}

Optimizer::Optimizer(const OptimizerOptions& options, const NamedTensors& trainable) : options_(options) {
  if (options.name == OptimizerName::adamw8bit) {
    fail(ExitCode::usage, "optim.name: adamw8bit is not in this version", "use adamw, lion or sgd");
  }
  if (trainable.empty()) fail(ExitCode::internal, "the optimizer was given no tensor to train");
  const auto device = trainable.front().second.device();
  const int64_t moments = moments_per_weight(options.name, options.beta1);
  const auto scalar = at::TensorOptions().device(device);
  step_ = at::zeros({}, scalar.dtype(at::kFloat));
  for (const auto& [name, tensor] : trainable) {
    const double lr_factor = rate_factor(options, name, tensor);
    const double weight_decay = tensor.dim() >= 2 ? options.weight_decay : 0.0;
    auto group = std::find_if(groups_.begin(), groups_.end(), [&](const Group& candidate) {
      return candidate.lr_factor == lr_factor && candidate.weight_decay == weight_decay &&
             candidate.weights.front().scalar_type() == tensor.scalar_type();
    });
    if (group == groups_.end()) {
      group = groups_.insert(groups_.end(), Group{.lr_factor = lr_factor, .weight_decay = weight_decay});
      group->lr = at::zeros({}, scalar.dtype(device.is_cpu() ? at::kDouble : at::kFloat));
    }
    group->members.push_back(names_.size());
    group->weights.push_back(tensor.detach());
    if (moments > 0) group->first.push_back(at::zeros_like(group->weights.back()));
    if (moments > 1) group->second.push_back(at::zeros_like(group->weights.back()));
    names_.push_back(name);
  }
}

void Optimizer::step(double lr, const std::vector<Tensor>& gradients, const Tensor& skip) {
  const at::NoGradGuard no_grad;
  step_.add_(at::rsub(skip, 1));
  for (auto& group : groups_) {
    group.lr.fill_(lr * group.lr_factor);
    std::vector<Tensor> of_group;
    of_group.reserve(group.members.size());
    for (const size_t member : group.members) of_group.push_back(gradients[member]);
    switch (options_.name) {
      case OptimizerName::lion:
        lion(group, of_group, skip);
        break;
      case OptimizerName::sgd:
        sgd(group, of_group, skip);
        break;
      default:
        adamw(group, of_group, skip);
    }
  }
}

void Optimizer::adamw(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip) {
  const std::vector<Tensor> steps(group.weights.size(), step_);
  at::_fused_adamw_(group.weights, gradients, group.first, group.second, /*max_exp_avg_sqs=*/{}, steps, group.lr,
                    options_.beta1, options_.beta2, group.weight_decay, options_.eps, /*amsgrad=*/false,
                    /*maximize=*/false, /*grad_scale=*/{}, skip);
  count_change(group.weights);
}

void Optimizer::sgd(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip) {
  decay_weights(group.weights, group.lr, group.weight_decay, skip);
  at::_fused_sgd_(group.weights, gradients, group.first, /*weight_decay=*/0, options_.beta1, group.lr, /*dampening=*/0,
                  /*nesterov=*/false, /*maximize=*/false, /*is_first_step=*/false, /*grad_scale=*/{}, skip);
  count_change(group.weights);
}

void Optimizer::lion(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip) {
  // A zero times NaN is NaN, so a skipped gradient is blanked before it meets the zero that skips it.
  const Tensor blank = skip.to(at::kBool);
  for (const auto& gradient : gradients) gradient.masked_fill_(blank, 0);
  decay_weights(group.weights, group.lr, group.weight_decay, skip);
  const Tensor gate = at::rsub(skip, 1);
  const auto dtype = group.weights.front().scalar_type();

  auto direction = at::_foreach_lerp(group.first, gradients, 1 - options_.beta1);
  at::_foreach_sign_(direction);
  at::_foreach_mul_(direction, gate.mul(group.lr).neg().to(dtype));
  at::_foreach_add_(group.weights, direction);

  auto drift = at::_foreach_sub(gradients, group.first);
  at::_foreach_mul_(drift, gate.mul(1 - options_.beta2).to(dtype));
  at::_foreach_add_(group.first, drift);
}

NamedTensors Optimizer::state() const {
  NamedTensors state = {{"step", step_}};
  const bool momentum_only = options_.name == OptimizerName::sgd;
  for (const auto& group : groups_) {
    for (size_t i = 0; i < group.members.size(); ++i) {
      const auto& name = names_[group.members[i]];
      if (!group.first.empty())
        state.emplace_back(name + (momentum_only ? ".momentum_buffer" : ".exp_avg"), group.first[i]);
      if (!group.second.empty()) state.emplace_back(name + ".exp_avg_sq", group.second[i]);
    }
  }
  return state;
}

}  // namespace prentice
