#include "nn/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>

#include <limits>

#include "core/wide_type.h"
#include "kernels/flash_cpu.h"

namespace prentice {

namespace {

// [L, heads, E] -> [1, heads, L, E]
Tensor by_head(const Tensor& x) { return x.transpose(0, 1).unsqueeze(0); }

// q [L, H, E], k and v [N, K, E] -> [L, H * E]
Tensor written_out(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  const auto wide = wide_type(q);
  const int64_t group = q.size(1) / k.size(1);
  const Tensor keys = k.repeat_interleave(group, 1).transpose(0, 1),
               values = v.repeat_interleave(group, 1).transpose(0, 1);
  Tensor scores = at::matmul(q.transpose(0, 1), keys.transpose(1, 2)).to(wide) * options.scale;  // [H, L, N]
  if (options.softcap > 0) scores = at::tanh(scores / options.softcap) * options.softcap;
  const Tensor hidden = hidden_keys(q.size(0), k.size(0), options.window, q.device());
  const Tensor shares = at::softmax(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()), -1);
  return at::matmul(shares.to(v.scalar_type()), values).transpose(0, 1).flatten(1);
}

// SDPA of one sequence; a mask only where causality alone does not say it.
Tensor one_sequence(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  const int64_t queries = q.size(0), keys = k.size(0);
  const bool windowed = options.window > 0 && options.window < keys;
  const bool causal = !windowed && queries == keys;
  std::optional<Tensor> visible;
  if (!causal && (windowed || queries > 1))
    visible = hidden_keys(queries, keys, options.window, q.device()).logical_not();
  return at::scaled_dot_product_attention(by_head(q), by_head(k), by_head(v), visible, 0.0, causal, options.scale,
                                          /*enable_gqa=*/q.size(1) != k.size(1))
      .squeeze(0)
      .transpose(0, 1)
      .flatten(1);
}

template <class Form>
Tensor each_sequence(const Tensor& q, const Tensor& k, const Tensor& v, const Batch& batch, Form form) {
  std::vector<Tensor> results;
  for (size_t s = 0; s + 1 < batch.host_starts.size(); ++s) {
    const int64_t start = batch.host_starts[s], length = batch.host_starts[s + 1] - start;
    if (length == 0) continue;
    results.push_back(form(q.narrow(0, start, length), k.narrow(0, start, length), v.narrow(0, start, length)));
  }
  return at::cat(results, 0);
}

// Flash attention 2 of variable length; window_left counts the keys before the query itself.
Tensor flash_cuda(const Tensor& q, const Tensor& k, const Tensor& v, const Batch& batch,
                  const AttentionOptions& options) {
  std::optional<c10::SymInt> left, right;
  if (options.window > 0) left = options.window - 1, right = 0;
  const auto results = at::_flash_attention_forward_symint(q, k, v, batch.starts, batch.starts, batch.longest,
                                                           batch.longest, 0.0, /*is_causal=*/true,
                                                           /*return_debug_mask=*/false, options.scale, left, right);
  return std::get<0>(results).flatten(1);
}

}  // namespace

Tensor hidden_keys(int64_t queries, int64_t keys, int64_t window, at::Device device) {
  const auto options = at::TensorOptions(at::kLong).device(device);
  const Tensor query = at::arange(keys - queries, keys, options).unsqueeze(1),
               key = at::arange(keys, options).unsqueeze(0);
  const Tensor distance = query - key;
  const Tensor behind = distance.lt(0);
  return window > 0 ? behind.bitwise_or(distance.ge(window)) : behind;
}

Tensor attention_reference(const Tensor& q, const Tensor& k, const Tensor& v, const Batch& batch,
                           const AttentionOptions& options) {
  return each_sequence(q, k, v, batch, [&](const Tensor& one_q, const Tensor& one_k, const Tensor& one_v) {
    return written_out(one_q, one_k, one_v, options);
  });
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Batch& batch,
                 const AttentionOptions& options) {
  if (options.softcap > 0) return attention_reference(q, k, v, batch, options);
  if (q.is_cpu() || q.is_meta()) {
    return flash_attention_cpu(q, k, v, batch.host_starts, options.scale, options.window).flatten(1);
  }
  if (q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf) return flash_cuda(q, k, v, batch, options);
  return each_sequence(q, k, v, batch, [&](const Tensor& one_q, const Tensor& one_k, const Tensor& one_v) {
    return one_sequence(one_q, one_k, one_v, options);
  });
}

Tensor attention_cached(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  return options.softcap > 0 ? written_out(q, k, v, options) : one_sequence(q, k, v, options);
}

}  // namespace prentice
