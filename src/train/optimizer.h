// AdamW, Lion and SGD over all trainable tensors at once: multi-tensor kernels, rate and step counter on the device,
// and a device flag that turns a move into nothing. Nothing here waits for the device.
#pragma once

#include <memory>
#include <vector>

#include "config/schema.h"
#include "core/tensor.h"

namespace prentice {

inline constexpr double kEmbeddingRate = 1e-6;

// Tensors of a weight's size and type that the optimizer keeps beside it: 2, 1, or 0 for SGD without momentum.
int64_t moments_per_weight(OptimizerName name, double beta1);

struct OptimizerOptions {
  OptimizerName name = OptimizerName::adamw;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0;  // decoupled: w -= lr * weight_decay * w, for matrices only (norms and biases never decay)
  // LoRA+ (Hayou et al. 2024), with the groups of peft's create_loraplus_optimizer: a factor on the rate of every B and
  // every vector. Where it is not 1, an adapter on an embedding learns at kEmbeddingRate whatever the peak rate `lr`.
  double lr_ratio = 1;
  double lr = 1;  // the peak of the schedule
};

// Formulas, with g the gradient after clipping and t the number of moves made, this one included:
//   adamw  Loshchilov & Hutter 2019, algorithm 2; torch.optim.AdamW(fused=True) to the bit
//   lion   Chen et al. 2023, algorithm 2: w -= lr sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g
//   sgd    torch.optim.SGD with momentum beta1 and no dampening; with beta1 = 0 it keeps no moment; beta2 and eps are
//          unused
// A tensor without a gradient counts as one with a gradient of zero.
class Optimizer {
 public:
  // Moments are zero and have the dtype of their tensor. Errors: `usage` for an optimizer that is not built yet.
  Optimizer(const OptimizerOptions& options, const NamedTensors& trainable);

  // One move by `gradients` (in the order of `trainable`). `skip` is [] f32 on the device: 1 leaves weights, moments
  // and the step counter as they are. The gradients' content is undefined afterwards.
  void step(double lr, const std::vector<Tensor>& gradients, const Tensor& skip);

  // Everything that a resumed run must have back, under fixed names (`step`, NAME.exp_avg, ...); the tensors are the
  // live ones, so writing into them restores the optimizer.
  NamedTensors state() const;

 private:
  // Tensors that share a rate and a decay, hence one kernel launch.
  struct Group {
    double lr_factor = 1, weight_decay = 0;
    std::vector<size_t> members;                 // indices into the trainable tensors
    std::vector<Tensor> weights, first, second;  // moments: empty where the formula has none
    Tensor lr;                                   // [] f64 on the CPU, f32 on a GPU: what the fused kernels read
  };
  void adamw(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip);
  void sgd(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip);
  void lion(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip);

  OptimizerOptions options_;
  std::vector<std::string> names_;
  std::vector<Group> groups_;
  Tensor step_;  // [] f32
};

}  // namespace prentice
