#include "model/block.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/scalar_tensor.h>

#include "kernels/rope.h"
#include "kernels/silu_mul.h"

namespace prentice {

namespace {

Tensor attention_part(const ModelSpec& spec, const LayerSpec& kind, const Layer& layer, const Tensor& normed,
                      const RopeTable& rope, const BlockContext& context) {
  const auto qkv = context.project(layer.qkv, normed);
  const auto heads = [&](const Tensor& part, int64_t count) { return part.unflatten(1, {count, spec.head_dim}); };
  const Tensor q = rotate(heads(qkv[0], spec.heads), rope.cosine, rope.sine);
  const Tensor k = rotate(heads(qkv[1], spec.kv_heads), rope.cosine, rope.sine);
  const Tensor mixed =
      context.attend(q, k, heads(qkv[2], spec.kv_heads),
                     {.scale = spec.attention_scale, .window = kind.window, .softcap = spec.attention_softcap});
  return context.linear(layer.o, mixed);
}

Tensor mlp_part(const Layer& layer, const Tensor& normed, const BlockContext& context) {
  const auto gate_up = context.project(layer.gate_up, normed);
  return context.linear(layer.down, silu_mul(gate_up[0], gate_up[1]));
}

}  // namespace

Tensor embed_tokens(const Model& model, const Tensor& ids) {
  const Tensor rows = at::embedding(model.embed, ids);
  if (model.spec.embed_scale == 1) return rows;
  return rows * at::scalar_tensor(model.spec.embed_scale, rows.options());  // rounded to the type first
}

Tensor run_block(const ModelSpec& spec, const LayerSpec& kind, const Layer& layer, const Tensor& x,
                 const RopeTable& rope, const BlockContext& context) {
  const Tensor normed = normalize(layer.input_norm, x);
  const Tensor attended = x + attention_part(spec, kind, layer, normed, rope, context);
  const Tensor mlp_input = spec.block == BlockKind::parallel ? normed : normalize(*layer.mlp_norm, attended);
  return attended + mlp_part(layer, mlp_input, context);
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
    if (linear.lora) take(linear.lora->a), take(linear.lora->b);
  };
  visit_layer(layer, take_linear, take_all);
  return found;
}

}  // namespace prentice
