#include "model/block.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

#include "core/error.h"
#include "kernels/gated.h"
#include "kernels/gguf_blocks.h"
#include "kernels/rope.h"
#include "nn/add_norm.h"
#include "nn/host_rows.h"
#include "nn/recompute.h"

namespace prentice {

namespace {

// x [T, H, E] -> the same with every head's vector normalised
Tensor normalize_heads(const std::vector<Norm>& norms, const Tensor& x) {
  if (norms.empty()) return x;
  if (norms.size() == 1) return normalize(norms[0], x.reshape({-1, x.size(2)})).view(x.sizes());
  std::vector<Tensor> heads;
  for (size_t h = 0; h < norms.size(); ++h) heads.push_back(normalize(norms[h], x.select(1, static_cast<int64_t>(h))));
  return at::stack(heads, 1);
}

Tensor attention_part(const ModelSpec& spec, const LayerSpec& kind, const Layer& layer, const Tensor& normed,
                      const RopeTable& rope, const BlockContext& context) {
  const auto qkv = context.project(layer.qkv, normed);
  const auto heads = [&](const Tensor& part, int64_t count) { return part.unflatten(1, {count, spec.head_dim}); };
  const auto rotated = [&](const Tensor& part, const std::vector<Norm>& norms, int64_t count) {
    const bool is_ours = norms.empty() && !part.is_view();  // a view is a part of a fused module's one result
    if (is_ours) return heads(rotate_in_place(part, count, rope.cosine, rope.sine), count);
    return rotate(normalize_heads(norms, heads(part, count)), rope.cosine, rope.sine);
  };
  const Tensor q = rotated(qkv[0], layer.query_norms, spec.heads);
  const Tensor k = rotated(qkv[1], layer.key_norms, spec.kv_heads);
  const Tensor mixed =
      context.attend(q, k, heads(qkv[2], spec.kv_heads),
                     {.scale = spec.attention_scale, .window = kind.window, .softcap = spec.attention_softcap});
  const Tensor out = context.linear(layer.o, mixed);
  return layer.attention_output_norm ? normalize(*layer.attention_output_norm, out) : out;
}

Gate gate_of(Activation activation) {
  switch (activation) {
    case Activation::silu:
      return Gate::silu;
    case Activation::gelu_tanh:
      return Gate::gelu_tanh;
    case Activation::gelu:
      return Gate::gelu;
  }
  fail(ExitCode::internal, "this activation has no function");
}

Tensor activated(const ModelSpec& spec, const std::vector<Tensor>& gate_up) {
  const Gate gate = gate_of(spec.activation);
  if (spec.gated_mlp) return gated(gate, gate_up[0], gate_up[1]);
  if (gate == Gate::silu) return at::silu(gate_up[0]);
  return at::gelu(gate_up[0], gate == Gate::gelu ? "none" : "tanh");
}

Tensor mlp_part(const ModelSpec& spec, const Layer& layer, const Tensor& normed, const BlockContext& context) {
  const Tensor out = context.linear(layer.down, activated(spec, context.project(layer.gate_up, normed)));
  return layer.mlp_output_norm ? normalize(*layer.mlp_output_norm, out) : out;
}

}  // namespace

Tensor embed_tokens(const Model& model, const Tensor& ids, const Tensor& host_ids) {
  const bool waits = model.embed.defined() && model.embed.device() != ids.device();
  Tensor rows = model.embed_blocks ? looked_up(*model.embed_blocks, ids)
                : waits            ? rows_from_host(model.embed, ids, host_ids)
                                   : at::embedding(model.embed, ids);
  if (model.embed_lora && model.embed_lora->enabled) {
    const Lora& lora = *model.embed_lora;
    const Tensor low = at::embedding(lora.a.t(), ids);  // [T, R]
    rows = rows + at::mm(low, lora.b.t()).mul(lora.scale).to(rows.scalar_type());
  }
  if (model.spec.embed_scale == 1) return rows;
  return rows * at::scalar_tensor(model.spec.embed_scale, rows.options());  // rounded to the type first
}

Tensor run_block(const ModelSpec& spec, const LayerSpec& kind, const Layer& layer, const Tensor& x,
                 const RopeTable& rope, const BlockContext& context) {
  const Tensor normed = normalize(layer.input_norm, x);
  const auto attention = [&] { return attention_part(spec, kind, layer, normed, rope, context); };
  const bool again = context.recompute_mlp && c10::GradMode::is_enabled();
  if (layer.mlp_norm && !again) {
    const auto [attended, in] = add_and_normalize(*layer.mlp_norm, x, attention());
    return attended + mlp_part(spec, layer, in, context);
  }
  const Tensor attended = x + attention();
  if (!again) return attended + mlp_part(spec, layer, normed, context);
  // What is kept is the sum, not its norm, which the backward pass computes again.
  const auto mlp = [&spec, &layer, context](const Tensor& in) {
    return mlp_part(spec, layer, layer.mlp_norm ? normalize(*layer.mlp_norm, in) : in, context);
  };
  const Tensor& in = layer.mlp_norm ? attended : normed;
  return attended + recompute(mlp, in, trained_tensors(layer), context.offloaded);
}

std::vector<Tensor> trained_tensors(const Layer& layer) {
  std::vector<Tensor> found;
  const auto take = [&](const Tensor& tensor) {
    if (tensor.defined() && tensor.requires_grad()) found.push_back(tensor);
  };
  const auto take_all = [&](const auto& part) {
    visit_tensors(part, [&](const std::string&, const Tensor& tensor) { take(tensor); });
  };
  const auto take_linear = [&](const Linear& linear) {
    take_all(linear);
    if (linear.lora) visit_trained(*linear.lora, [&](const char*, const Tensor& tensor) { take(tensor); });
  };
  visit_layer(layer, take_linear, take_all);
  return found;
}

}  // namespace prentice
