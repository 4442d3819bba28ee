// AdamW, Lion and SGD over all trainable tensors at once: multi-tensor kernels, rate and step counter on the device,
// and a device flag that turns a move into nothing. Nothing here waits for the device.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/schema.h"
#include "core/host_copies.h"
#include "core/tensor.h"
#include "kernels/adamw_8bit.h"

namespace prentice {

inline constexpr double kEmbeddingRate = 1e-6;

// Tensors of fewer elements keep their moments in their own type with adamw8bit, as with bitsandbytes' min_8bit_size.
inline constexpr int64_t kLeastIn8Bit = 4096;

// Of states that are on the device at once where they wait on the host: while one page moves the next one comes.
inline constexpr int64_t kStatePageBytes = int64_t{128} << 20;

// Of the directions that Lion takes at once: enough for few launches, and little beside the moments.
inline constexpr int64_t kLionBytes = int64_t{16} << 20;

// Bytes that a move makes beside weights, gradients and moments; all others are one pass over each tensor.
int64_t most_beside(OptimizerName, const NamedTensors& trainable);

struct OptimizerOptions {
  OptimizerName name = OptimizerName::adamw;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0;  // decoupled: w -= lr * weight_decay * w, for matrices only (norms and biases never decay)
  // LoRA+ (Hayou et al. 2024), with the groups of peft's create_loraplus_optimizer: a factor on the rate of every B and
  // every vector. Where it is not 1, an adapter on an embedding learns at kEmbeddingRate whatever the peak rate `lr`.
  double lr_ratio = 1;
  double lr = 1;         // the peak of the schedule
  bool offload = false;  // states wait in pinned host memory, and come to the device page by page; the same bits
  int64_t page_bytes = kStatePageBytes;
};

// Formulas, with g the gradient after clipping and t the number of moves made, this one included:
//   adamw  Loshchilov & Hutter 2019, algorithm 2; torch.optim.AdamW(fused=True) to the bit
//   adamw8bit  the same with moments in 8 bits (kernels/adamw_8bit.h): AdamW8bit of bitsandbytes
//   lion   Chen et al. 2023, algorithm 2: w -= lr sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g
//   sgd    torch.optim.SGD with momentum beta1 and no dampening; with beta1 = 0 it keeps no moment; beta2 and eps are
//          unused
// A tensor without a gradient counts as one with a gradient of zero.
class Optimizer {
 public:
  // Moments are zero and have the dtype of their tensor, or 8 bits. On `meta` only their bytes count.
  Optimizer(const OptimizerOptions& options, const NamedTensors& trainable);

  // One move by `gradients` (in the order of `trainable`). `skip` is [] f32 on the device: 1 leaves weights, moments
  // and the step counter as they are. The gradients' content is undefined afterwards.
  void step(double lr, const std::vector<Tensor>& gradients, const Tensor& skip);

  // Everything that a resumed run must have back, under fixed names (`step`, NAME.exp_avg, ...; NAME.state1 and so on
  // in 8 bits, as bitsandbytes has them); the tensors are the live ones, so writing into them restores the optimizer.
  // With `offload` they are on the host, and this waits for what is on its way there.
  NamedTensors state() const;

 private:
  // Tensors that share a rate and a decay, hence one kernel launch.
  struct Group {
    double lr_factor = 1, weight_decay = 0;
    bool in_8bit = false;
    std::vector<size_t> members;                 // indices into the trainable tensors
    std::vector<Tensor> weights, first, second;  // moments: empty where the formula has none
    std::vector<Moments8Bit> packed;             // in their place where in_8bit
    Tensor lr;                                   // [] f64 on the CPU, f32 on a GPU: what the fused kernels read
  };
  struct Page;
  Group& group_of(const std::string& name, const Tensor& weight);
  // f(suffix, tensor) for every state of member i.
  template <class G, class F>
  void visit_states(G& group, size_t i, F&& f) const;
  Page bring(const Group& group, size_t begin);
  void move_by_pages(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip);
  void move(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip);
  void adamw(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip);
  void adamw_in_8bit(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip);
  void sgd(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip);
  void lion(Group& group, const std::vector<Tensor>& gradients, const Tensor& skip);

  OptimizerOptions options_;
  std::vector<std::string> names_;
  std::vector<Group> groups_;
  std::optional<HostCopies> copies_;  // with `offload`
  Tensor step_;                       // [] f32
};

}  // namespace prentice
