// Weights of linear layers and their products: a weight variant, an optional bias, an optional low-rank adapter.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/batch.h"
#include "core/tensor.h"
#include "kernels/packed.h"
#include "nn/recompute.h"

namespace prentice {

struct Dense {
  Tensor weight;  // [out, in]
};

class ServedWeight;  // nn/served_weight.h

// y += scale * dropout(x) A^T B^T   (Hu et al. 2021, eq. 3)
struct Lora {
  Tensor a;            // [R, in] f32
  Tensor b;            // [out, R] f32
  Tensor magnitude;    // [out] f32 with DoRA (nn/dora.h); undefined = plain
  Tensor row_squares;  // [out] with DoRA: squared norms of the frozen weight's rows
  Tensor first_a;      // [R, in] and [out, R] with PiSSA (Meng et al. 2024): the base holds W - scale * first_b first_a
  Tensor first_b;
  double scale = 1;  // alpha / R, or alpha / sqrt(R) with rslora
  double alpha = 1;
  bool rslora = false;
  double dropout = 0;
  int64_t module = 0;  // index of the adapted module in the model: keys the dropout mask
  bool enabled = true;
  std::shared_ptr<ServedWeight> served;  // with adapter.qat: products read this weight, which has the factors in it
};

struct Linear {
  std::string name;  // Hugging Face module name: model.layers.0.self_attn.q_proj
  std::variant<Dense, Nf4, GgufBlocks> weight;
  Tensor bias;  // [out], undefined when there is none
  std::optional<Lora> lora;
  int64_t in_features = 0, out_features = 0;
};

// Linears that read the same input (q, k, v; gate, up). Dense parts of one type are views of `joined`, so that they run
// as one product; loading, export and adapters see the parts. Where the model's own module is fused (qkv_proj), it is
// the one part: one stored tensor, one target of an adapter, whose rows are the results under each other.
struct Projection {
  std::vector<Linear> parts;
  Tensor joined;                // [sum of out, in]; undefined when the parts do not share storage
  std::vector<int64_t> widths;  // out features of each result where that is not one a part
};

// Calls f(ending, tensor) for what trains of an adapter on a linear layer, under PEFT's names.
template <class L, class F>
void visit_trained(L& lora, F&& f) {
  f(".lora_A.weight", lora.a);
  f(".lora_B.weight", lora.b);
  if (lora.magnitude.defined()) f(".lora_magnitude_vector", lora.magnitude);
}

// What one forward pass needs to know beside weights and input.
struct ForwardOptions {
  bool training = false;  // dropout is drawn
  Recomputed recomputed = Recomputed::nothing;
  bool offload = false;  // what recomputation keeps goes to host memory until the backward pass
  uint64_t seed = 0;     // of the dropout masks
  int64_t step = 0;      // optimizer step, part of the masks' counter
};

// x [T, in] -> [T, out]
Tensor linear(const Linear&, const Tensor& x, const Batch&, const ForwardOptions&);
// x [T, in] -> one [T, out_i] a part, or one [T, width_i] where the projection names widths
std::vector<Tensor> project(const Projection&, const Tensor& x, const Batch&, const ForwardOptions&);

// The same without dropout, where there is no batch: generation, logits.
Tensor linear(const Linear&, const Tensor& x);
std::vector<Tensor> project(const Projection&, const Tensor& x);

const Tensor& dense_weight(const Linear&);  // [out, in], of a layer that is not quantized
bool is_quantized(const Linear&);
Packed packed_weight(const Linear&);  // of a layer that is quantized; the same memory
// [out, in] of any layer, as products read it. Of a quantized one it is gone with the next product (kernels/packed.h).
Tensor weight_values(const Linear&);
at::TensorOptions weight_options(const Linear&);  // its type and device

// Gives the parts' weights, all dense, one storage, `joined`, of which they become views. Values stay.
void join(Projection&);

}  // namespace prentice
