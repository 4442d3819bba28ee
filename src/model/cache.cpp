#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "model/block.h"
#include "model/generate.h"

namespace prentice {

namespace {

constexpr int64_t kFirstCapacity = 256;

// Room for `length` rows, growing by half so that appending token by token stays linear.
void reserve(Tensor& store, int64_t used, int64_t length, int64_t heads, int64_t width,
             const at::TensorOptions& options) {
  const int64_t capacity = store.defined() ? store.size(0) : 0;
  if (capacity >= length) return;
  Tensor larger = at::empty({std::max({length, kFirstCapacity, capacity + capacity / 2}), heads, width}, options);
  if (used > 0) larger.narrow(0, 0, used).copy_(store.narrow(0, 0, used));
  store = larger;
}

}  // namespace

KvCache::KvCache(const Model& model)
    : keys_(static_cast<size_t>(model.spec.layers)), values_(static_cast<size_t>(model.spec.layers)) {}

void KvCache::truncate(int64_t length) {
  if (length < 0 || length > length_) {
    fail(ExitCode::internal, fmt::format("a cache of {} tokens cannot be cut to {}", length_, length));
  }
  length_ = length;
}

Tensor forward_cached(const Model& model, std::span<const int32_t> ids, KvCache& cache) {
  const c10::NoGradGuard no_grad;
  const auto& spec = model.spec;
  const int64_t before = cache.length_, count = static_cast<int64_t>(ids.size()), after = before + count;
  const auto device = model.embed.device();
  Tensor x = embed_tokens(model, at::tensor(at::ArrayRef<int32_t>(ids.data(), ids.size())).to(device, at::kLong));
  const Tensor positions = at::arange(before, after, at::TensorOptions(at::kLong).device(device));
  const auto tables = rope_tables(spec, positions, x.scalar_type());
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const auto attend = [&](const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& how) {
      for (auto& [store, rows] : {std::pair<Tensor&, const Tensor&>{cache.keys_[i], k}, {cache.values_[i], v}}) {
        reserve(store, before, after, spec.kv_heads, spec.head_dim, rows.options());
        store.narrow(0, before, count).copy_(rows);
      }
      return attention_cached(q, cache.keys_[i].narrow(0, 0, after), cache.values_[i].narrow(0, 0, after), how);
    };
    const BlockContext context{.linear = [](const Linear& layer, const Tensor& in) { return linear(layer, in); },
                               .project = [](const Projection& layer, const Tensor& in) { return project(layer, in); },
                               .attend = attend};
    x = run_block(spec, spec.layer[i], model.layers[i], x, tables[static_cast<size_t>(spec.layer[i].rope)], context);
  }
  cache.length_ = after;
  return normalize(model.final_norm, x);
}

}  // namespace prentice
