#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "model/decoder.h"
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
  if (length < 0 || length > this->length()) {
    fail(ExitCode::internal, fmt::format("a cache of {} tokens cannot be cut to {}", this->length(), length));
  }
  ids_.resize(static_cast<size_t>(length));
}

Tensor KvCache::append(const Model& model, std::span<const int32_t> ids) {
  const auto& spec = model.spec;
  const int64_t before = length(), count = static_cast<int64_t>(ids.size()), after = before + count;
  const auto device = device_of(model);
  const auto attend = [&](size_t layer, const Tensor& q, const Tensor& k, const Tensor& v,
                          const AttentionOptions& how) {
    for (auto& [store, rows] : {std::pair<Tensor&, const Tensor&>{keys_[layer], k}, {values_[layer], v}}) {
      reserve(store, before, after, spec.kv_heads, spec.head_dim, rows.options());
      store.narrow(0, before, count).copy_(rows);
    }
    return attention_cached(q, keys_[layer].narrow(0, 0, after), values_[layer].narrow(0, 0, after), how);
  };
  const Tensor host_ids = at::tensor(at::ArrayRef<int32_t>(ids.data(), ids.size())).to(at::kLong);
  const Tensor hidden = run_decoder(
      model, {.ids = host_ids.to(device),
              .host_ids = host_ids,
              .rotary = {at::arange(before, after, at::TensorOptions(at::kLong).device(device)), {0, count}},
              .attend = attend});
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  rotated_for_ = after;
  return hidden;
}

Tensor forward_cached(const Model& model, std::span<const int32_t> ids, KvCache& cache) {
  const c10::NoGradGuard no_grad;
  const auto count = static_cast<int64_t>(ids.size());
  if (cache.length() == 0 || same_rotation(model.spec, cache.rotated_for_, cache.length() + count)) {
    return cache.append(model, ids);
  }
  std::vector<int32_t> all = cache.ids_;
  all.insert(all.end(), ids.begin(), ids.end());
  cache.truncate(0);
  const Tensor hidden = cache.append(model, all);
  return hidden.narrow(0, hidden.size(0) - count, count);
}

}  // namespace prentice
