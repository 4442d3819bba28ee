#include "kernels/flash_cpu.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <limits>

namespace prentice {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The kernel takes [batch, heads, L, E] with one key head a query head. Key heads become the batch and the queries that
// share one its heads, so grouped keys are an expanded view and nothing is copied.
Tensor grouped_queries(const Tensor& x, int64_t start, int64_t length, int64_t key_heads) {
  return x.narrow(0, start, length).unflatten(1, {key_heads, x.size(1) / key_heads}).permute({1, 2, 0, 3});
}
Tensor grouped_keys(const Tensor& x, int64_t start, int64_t length, int64_t group) {
  const Tensor heads = x.narrow(0, start, length).permute({1, 0, 2}).unsqueeze(1);
  return heads.expand({x.size(1), group, length, x.size(2)});
}

// Additive mask of a causal window, [L, L]; absent when every earlier key is inside it.
std::optional<Tensor> window_mask(int64_t length, int64_t window, const at::TensorOptions& options) {
  if (window == 0 || window >= length) return std::nullopt;
  const Tensor outside = at::full({length, length}, -std::numeric_limits<double>::infinity(), options);
  return outside.triu(1) + outside.tril(-window);
}

struct FlashCpu : torch::autograd::Function<FlashCpu> {
  static Tensor forward(AutogradContext* context, const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<int64_t>& starts, double scale, int64_t window) {
    const at::AutoDispatchBelowADInplaceOrView plain;
    const int64_t key_heads = k.size(1), group = q.size(1) / key_heads;
    Tensor out = at::empty(q.sizes(), q.options());
    variable_list to_save = {q, k, v, out};
    for (size_t s = 0; s + 1 < starts.size(); ++s) {
      const int64_t start = starts[s], length = starts[s + 1] - start;
      if (length == 0) continue;
      const auto mask = window_mask(length, window, q.options());
      auto [part, logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(
          grouped_queries(q, start, length, key_heads), grouped_keys(k, start, length, group),
          grouped_keys(v, start, length, group), 0.0, /*is_causal=*/!mask, mask, scale);
      grouped_queries(out, start, length, key_heads).copy_(part);
      to_save.push_back(logsumexp);
    }
    context->save_for_backward(to_save);
    context->saved_data["starts"] = starts;
    context->saved_data["scale"] = scale;
    context->saved_data["window"] = window;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const at::AutoDispatchBelowADInplaceOrView plain;
    const auto saved = context->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3];
    const auto starts = context->saved_data["starts"].toIntVector();
    const double scale = context->saved_data["scale"].toDouble();
    const int64_t key_heads = k.size(1), group = q.size(1) / key_heads;
    Tensor dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options());
    Tensor dv = at::empty(v.sizes(), v.options());
    const Tensor grad = grads[0].contiguous();
    size_t next = 4;
    for (size_t s = 0; s + 1 < starts.size(); ++s) {
      const int64_t start = starts[s], length = starts[s + 1] - start;
      if (length == 0) continue;
      const auto mask = window_mask(length, context->saved_data["window"].toInt(), q.options());
      auto [part_q, part_k, part_v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          grouped_queries(grad, start, length, key_heads), grouped_queries(q, start, length, key_heads),
          grouped_keys(k, start, length, group), grouped_keys(v, start, length, group),
          grouped_queries(out, start, length, key_heads), saved[next++], 0.0, /*is_causal=*/!mask, mask, scale);
      grouped_queries(dq, start, length, key_heads).copy_(part_q);
      dk.narrow(0, start, length).copy_(part_k.sum(1).permute({1, 0, 2}));
      dv.narrow(0, start, length).copy_(part_v.sum(1).permute({1, 0, 2}));
    }
    return {dq, dk, dv, Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor flash_attention_cpu(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts,
                           double scale, int64_t window) {
  return FlashCpu::apply(q, k, v, starts, scale, window);
}

}  // namespace prentice
