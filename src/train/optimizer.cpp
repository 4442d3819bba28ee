#include "train/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_sign.h>
#include <ATen/ops/_foreach_sub.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rsub.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <utility>

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

// Tensors of a weight's size that are kept beside it.
int64_t moments_per_weight(OptimizerName name, double beta1) {
  if (name == OptimizerName::sgd) return beta1 == 0 ? 0 : 1;
  return name == OptimizerName::lion ? 1 : 2;
}

// Behind the tensors from `begin` on that together take kLionBytes, or behind the one that takes more.
size_t end_of_stretch(const std::vector<Tensor>& weights, size_t begin) {
  size_t end = begin;
  for (int64_t bytes = 0; end < weights.size(); ++end) {
    bytes += static_cast<int64_t>(weights[end].nbytes());
    if (end > begin && bytes > kLionBytes) break;
  }
  return end;
}

double rate_factor(const OptimizerOptions& options, const std::string& name, const Tensor& tensor) {
  if (options.lr_ratio == 1) return 1;
  if (name.find(".lora_embedding_") != std::string::npos) return kEmbeddingRate / options.lr;
  return name.ends_with("lora_B.weight") || tensor.dim() == 1 ? options.lr_ratio : 1;
}

}  // namespace

Optimizer::Group& Optimizer::group_of(const std::string& name, const Tensor& weight) {
  const double lr_factor = rate_factor(options_, name, weight);
  const double weight_decay = weight.dim() >= 2 ? options_.weight_decay : 0.0;
  const bool in_8bit = options_.name == OptimizerName::adamw8bit && weight.numel() >= kLeastIn8Bit;
  const auto found = std::find_if(groups_.begin(), groups_.end(), [&](const Group& group) {
    return group.lr_factor == lr_factor && group.weight_decay == weight_decay && group.in_8bit == in_8bit &&
           group.weights.front().scalar_type() == weight.scalar_type();
  });
  if (found != groups_.end()) return *found;
  Group& made = groups_.emplace_back(Group{.lr_factor = lr_factor, .weight_decay = weight_decay, .in_8bit = in_8bit});
  const auto rate_type = weight.is_cpu() || in_8bit ? at::kDouble : at::kFloat;
  made.lr = at::zeros({}, at::TensorOptions().device(weight.device()).dtype(rate_type));
  return made;
}

template <class G, class F>
void Optimizer::visit_states(G& group, size_t i, F&& f) const {
  if (group.in_8bit) {
    auto& [first, first_absmax, second, second_absmax] = group.packed[i];
    f(".state1", first), f(".absmax1", first_absmax), f(".state2", second), f(".absmax2", second_absmax);
    return;
  }
  if (!group.first.empty()) f(options_.name == OptimizerName::sgd ? ".momentum_buffer" : ".exp_avg", group.first[i]);
  if (!group.second.empty()) f(".exp_avg_sq", group.second[i]);
}

Optimizer::Optimizer(const OptimizerOptions& options, const NamedTensors& trainable) : options_(options) {
  if (trainable.empty()) fail(ExitCode::internal, "the optimizer was given no tensor to train");
  const auto device = trainable.front().second.device();
  const int64_t moments = moments_per_weight(options.name, options.beta1);
  step_ = at::zeros({}, at::TensorOptions().device(device).dtype(at::kFloat));
  if (options.offload) copies_.emplace(device);
  for (const auto& [name, tensor] : trainable) {
    Group& group = group_of(name, tensor);
    const Tensor weight = tensor.detach();
    if ((group.in_8bit || copies_) && !weight.is_contiguous()) {
      fail(ExitCode::internal, name + " does not lie in one piece");
    }
    group.members.push_back(names_.size());
    group.weights.push_back(weight);
    if (group.in_8bit) {
      group.packed.push_back(make_moments_8bit(weight));
    } else {
      if (moments > 0) group.first.push_back(at::zeros_like(weight));
      if (moments > 1) group.second.push_back(at::zeros_like(weight));
    }
    if (copies_) {
      visit_states(group, group.members.size() - 1,
                   [&](const char*, Tensor& state) { state = copies_->to_host(state); });
    }
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
    copies_ ? move_by_pages(group, of_group, skip) : move(group, of_group, skip);
  }
}

void Optimizer::move(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip) {
  switch (options_.name) {
    case OptimizerName::lion:
      return lion(group, gradients, skip);
    case OptimizerName::sgd:
      return sgd(group, gradients, skip);
    case OptimizerName::adamw:
    case OptimizerName::adamw8bit:
      return group.in_8bit ? adamw_in_8bit(group, gradients, skip) : adamw(group, gradients, skip);
  }
}

// Members [begin, end) of a group, as a group of their own whose states are on their way to the device.
struct Optimizer::Page {
  Group group;
  size_t begin = 0, end = 0;
  std::vector<Tensor> coming;
};

Optimizer::Page Optimizer::bring(const Group& group, size_t begin) {
  Page page{.group = {.lr_factor = group.lr_factor,
                      .weight_decay = group.weight_decay,
                      .in_8bit = group.in_8bit,
                      .lr = group.lr},
            .begin = begin,
            .end = begin};
  for (int64_t bytes = 0; page.end < group.members.size() && bytes < options_.page_bytes; ++page.end) {
    const size_t i = page.end;
    page.group.members.push_back(group.members[i]);
    page.group.weights.push_back(group.weights[i]);
    if (!group.first.empty()) page.group.first.push_back(group.first[i]);
    if (!group.second.empty()) page.group.second.push_back(group.second[i]);
    if (group.in_8bit) page.group.packed.push_back(group.packed[i]);
    visit_states(group, i, [&](const char*, const Tensor& state) {
      page.coming.push_back(copies_->fetch(state));
      bytes += static_cast<int64_t>(state.nbytes());
    });
  }
  return page;
}

void Optimizer::move_by_pages(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip) {
  std::optional<Page> next = bring(group, 0);
  while (next) {
    Page page = std::move(*next);
    next.reset();
    if (page.end < group.members.size()) next = bring(group, page.end);
    size_t arrived = 0;
    for (size_t i = 0; i < page.group.members.size(); ++i) {
      visit_states(page.group, i,
                   [&](const char*, Tensor& state) { state = copies_->arrived(page.coming[arrived++]); });
    }
    move(page.group, {gradients.begin() + page.begin, gradients.begin() + page.end}, skip);
    std::vector<Tensor> moved;
    for (size_t i = 0; i < page.group.members.size(); ++i) {
      visit_states(page.group, i, [&](const char*, const Tensor& state) { moved.push_back(state); });
    }
    size_t stored = 0;
    for (size_t i = page.begin; i < page.end; ++i) {
      visit_states(group, i, [&](const char*, const Tensor& host) { copies_->store(moved[stored++], host); });
    }
  }
  copies_->let_go();
}

void Optimizer::adamw(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip) {
  const std::vector<Tensor> steps(group.weights.size(), step_);
  at::_fused_adamw_(group.weights, gradients, group.first, group.second, /*max_exp_avg_sqs=*/{}, steps, group.lr,
                    options_.beta1, options_.beta2, group.weight_decay, options_.eps, /*amsgrad=*/false,
                    /*maximize=*/false, /*grad_scale=*/{}, skip);
  count_change(group.weights);
}

void Optimizer::adamw_in_8bit(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip) {
  const auto without = [&](double beta) { return at::rsub(at::pow(beta, step_.to(at::kDouble)), 1); };
  const Tensor rate = group.lr.neg().div(without(options_.beta1)), root = without(options_.beta2).sqrt();
  const Tensor kept = at::rsub(group.lr.mul(group.weight_decay), 1);
  const Tensor now = at::stack({rate, root, kept}).to(at::kFloat);
  const Adamw8BitOptions options{.beta1 = options_.beta1, .beta2 = options_.beta2, .eps = options_.eps};
  for (size_t i = 0; i < gradients.size(); ++i) {
    adamw_8bit(group.weights[i], gradients[i].contiguous(), group.packed[i], now, skip, options);
  }
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
  const Tensor forward = gate.mul(group.lr).neg().to(dtype), share = gate.mul(1 - options_.beta2).to(dtype);

  for (size_t begin = 0, end = 0; begin < gradients.size(); begin = end) {
    end = end_of_stretch(group.weights, begin);
    const auto some = [&](const std::vector<Tensor>& all) { return at::TensorList(all).slice(begin, end - begin); };
    auto direction = at::_foreach_lerp(some(group.first), some(gradients), 1 - options_.beta1);
    at::_foreach_sign_(direction);
    at::_foreach_mul_(direction, forward);
    at::_foreach_add_(some(group.weights), direction);
  }
  at::_foreach_sub_(gradients, group.first);  // the drift, where the gradients were
  at::_foreach_mul_(gradients, share);
  at::_foreach_add_(group.first, gradients);
}

int64_t most_beside(OptimizerName name, const NamedTensors& trainable) {
  if (name != OptimizerName::lion) return 0;
  int64_t all = 0, largest = 0;
  for (const auto& [key, tensor] : trainable) {
    const auto bytes = static_cast<int64_t>(tensor.nbytes());
    all += bytes, largest = std::max(largest, bytes);
  }
  return std::min(all, std::max(largest, kLionBytes));
}

NamedTensors Optimizer::state() const {
  if (copies_) copies_->finish();
  NamedTensors state = {{"step", step_}};
  for (const auto& group : groups_) {
    for (size_t i = 0; i < group.members.size(); ++i) {
      visit_states(group, i, [&](const char* suffix, const Tensor& tensor) {
        state.emplace_back(names_[group.members[i]] + suffix, tensor);
      });
    }
  }
  return state;
}

}  // namespace prentice
