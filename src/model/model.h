// The decoder's weights as plain structs, and the visit that gives every tensor its Hugging Face name.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "model/spec.h"
#include "nn/linear.h"
#include "nn/norm.h"

namespace prentice {

struct Layer {
  Norm input_norm;
  Projection qkv;  // q, k, v
  Linear o;
  std::optional<Norm> mlp_norm;  // absent in parallel blocks
  Projection gate_up;            // gate, up
  Linear down;
};

struct Model {
  ModelSpec spec;
  Tensor embed;  // [V, D]
  std::vector<Layer> layers;
  Norm final_norm;
  Linear head;  // its weight is `embed` itself when tied
};

// Calls f(name, tensor) for every stored tensor, in the order transformers writes them; a tied head is not visited.
void visit(Model&, const std::function<void(const std::string&, Tensor&)>& f);
void visit(const Model&, const std::function<void(const std::string&, const Tensor&)>& f);
// Calls f for every Linear (head included), in module order.
void visit_linears(Model&, const std::function<void(Linear&)>& f);
void visit_linears(const Model&, const std::function<void(const Linear&)>& f);

struct TensorShape {
  std::string name;
  std::vector<int64_t> shape;
};
// The exact set of stored tensors the spec fixes.
std::vector<TensorShape> expected_tensors(const ModelSpec&);

struct LoadOptions {
  c10::ScalarType dtype;  // of weights in memory
  c10::Device device;
};

// Tensors of a folder against the spec: names, shapes, types, nothing extra. Errors: `model`, all differences named.
void check_weights(const ModelSpec&, const class WeightFolder&);

// Weights from *.safetensors (single or sharded). Errors: `model` for missing, extra or misshapen tensors, all named.
Model load_model(const std::filesystem::path& folder, const LoadOptions&);
// Normal(0, initializer_range) for matrices, ones for norms, zeros for biases; a function of (seed, name) alone.
Model random_model(const ModelSpec&, uint64_t seed, const LoadOptions&);

// [T, D], after the final norm.
Tensor forward_hidden(const Model&, const Batch&, const ForwardOptions&);
// hidden [N, D] -> logits [N, V] (soft cap included).
Tensor logits(const Model&, const Tensor& hidden);

}  // namespace prentice
