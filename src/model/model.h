// The decoder's weights as plain structs, and the visit that gives every tensor its Hugging Face name.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "core/tensor.h"
#include "model/spec.h"
#include "nn/linear.h"
#include "nn/norm.h"

namespace prentice {

struct Layer {
  Norm input_norm;
  Projection qkv;                            // q, k, v
  std::vector<Norm> query_norms, key_norms;  // of head vectors: none, one for all heads, or one a head
  Linear o;
  std::optional<Norm> attention_output_norm;
  std::optional<Norm> mlp_norm;  // absent in parallel blocks
  Projection gate_up;            // gate, up; or one layer alone
  Linear down;
  std::optional<Norm> mlp_output_norm;
};

// Calls on_projection, on_linear and on_norm for every member of a Layer or const Layer that is there, in the order
// transformers writes them. Everything that walks a layer is written on this; the binding names every member, so that
// one added to Layer and forgotten here does not compile.
template <class L, class OnProjection, class OnLinear, class OnNorm>
void visit_layer(L& layer, OnProjection&& on_projection, OnLinear&& on_linear, OnNorm&& on_norm) {
  auto& [input_norm, qkv, query_norms, key_norms, o, attention_output_norm, mlp_norm, gate_up, down, mlp_output_norm] =
      layer;
  on_projection(qkv);
  on_linear(o);
  for (auto& norm : query_norms) on_norm(norm);
  for (auto& norm : key_norms) on_norm(norm);
  on_projection(gate_up);
  on_linear(down);
  on_norm(input_norm);
  if (attention_output_norm) on_norm(*attention_output_norm);
  if (mlp_norm) on_norm(*mlp_norm);
  if (mlp_output_norm) on_norm(*mlp_output_norm);
}

// The same with a projection as its parts.
template <class L, class OnLinear, class OnNorm>
void visit_layer(L& layer, OnLinear&& on_linear, OnNorm&& on_norm) {
  const auto each_part = [&](auto& projection) {
    for (auto& part : projection.parts) on_linear(part);
  };
  visit_layer(layer, each_part, on_linear, on_norm);
}

// Calls f(name, tensor) for the tensors of one linear or norm. The weight of a quantized linear is none.
template <class L, class F>
requires std::is_same_v<std::remove_const_t<L>, Linear>
void visit_tensors(L& linear, F&& f) {
  if (auto* dense = std::get_if<Dense>(&linear.weight)) f(linear.name + ".weight", dense->weight);
  if (linear.bias.defined()) f(linear.name + ".bias", linear.bias);
}
template <class N, class F>
requires std::is_same_v<std::remove_const_t<N>, Norm>
void visit_tensors(N& norm, F&& f) {
  f(norm.name + ".weight", norm.weight);
  if (norm.bias.defined()) f(norm.name + ".bias", norm.bias);
}

// Modules that an adapter holds whole, beside its factors (PEFT's modules_to_save).
struct SavedModules {
  std::vector<std::string> words;  // as adapter_config.json names them
  NamedTensors base;               // their tensors as the base has them
  bool enabled = true;             // false: base and copies have changed places
};

struct Model {
  ModelSpec spec;
  Tensor embed;  // [V, D]; undefined where it is held in blocks
  std::optional<GgufBlocks> embed_blocks;
  std::optional<Lora> embed_lora;  // a [R, V], b [D, R]: the row of token t gets scale * B a_t
  SavedModules saved;
  std::vector<Layer> layers;
  Norm final_norm;
  Linear head;  // its weight is `embed` itself when tied
};

// Calls f(name, tensor) for every stored tensor, in the order transformers writes them; neither a tied head's weight
// nor a quantized one, the embedding's among them, is visited.
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
// Elements of all of them.
int64_t parameter_count(const ModelSpec&);

at::TensorOptions embed_options(const Model&);  // the type that products take the embedding in, on the model's device
c10::Device device_of(const Model&);            // where its layers are

// How the linear layers of a frozen base are held: as they are, in NF4, its scales nested or not, or in the blocks of
// its GGUF file (ModelSpec::blocks). Norms and biases always are as they are; with NF4 embedding and head too, as with
// bitsandbytes.
enum class Quantize { none, nf4, nf4_single, gguf };

// Of embedding and head, those that wait in host memory, which leaves the device to the layers: rows of the embedding
// are looked up there, and the head comes whole for as long as a loss reads it. A tied head waits with the embedding.
struct HostEnds {
  bool embed = false, head = false;

  bool any() const { return embed || head; }
};

struct LoadOptions {
  c10::ScalarType dtype;  // of weights in memory, and of products
  c10::Device device;
  Quantize quantize = Quantize::none;
  HostEnds host_ends = {};  // of what is not held in blocks
};

// The stored tensor of each of expected_tensors(), in that order; names, shapes and types fit and nothing is extra.
// Errors: `model`, all differences named.
std::vector<const struct TensorView*> match_weights(const ModelSpec&, const class WeightFolder&);

// Weights from *.safetensors (single or sharded), quantized one by one as they are read, or from a GGUF file, whose
// blocks stay as they are. Errors: `model` for missing, extra or misshapen tensors, all named.
Model load_model(const std::filesystem::path& folder, const LoadOptions&);
// As `wanted`, which may have more rows of the vocabulary than the files (those are zero), or a score head that a
// language model lacks (it starts as random_model's; the files' own head is left alone). Errors: as above.
Model load_model(const std::filesystem::path& folder, const LoadOptions&, const ModelSpec& wanted, uint64_t seed);
// Every weight by start_weight (model/make.h).
Model random_model(const ModelSpec&, uint64_t seed, const LoadOptions&);

// The head, its weight on the device; and the same model with that head, for passes that read it again and again.
Linear head_at_hand(const Model&);
Model with_head_at_hand(const Model&);

// Sees the states [T, D] behind layer `index`, part of the graph.
using LayerTap = std::function<void(size_t index, const Tensor& states)>;

// [T, D], after the final norm.
Tensor forward_hidden(const Model&, const Batch&, const ForwardOptions&, const LayerTap& tap = {});
// hidden [N, D] -> logits [N, V] (soft cap included).
Tensor logits(const Model&, const Tensor& hidden);

}  // namespace prentice
