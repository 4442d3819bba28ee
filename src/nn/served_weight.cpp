#include "nn/served_weight.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <vector>

#include "nn/merge_rows.h"
#include "quant/encode.h"

namespace prentice {

namespace {

HeldWeight room_for(const Tensor& weight, GgmlType type) {
  if (!is_held_in_blocks(type)) return Dense{at::empty(weight.sizes(), weight.options().requires_grad(false))};
  return make_gguf_blocks(weight.size(0), weight.size(1), type, weight.options().requires_grad(false));
}

HeldWeight room_like(HeldWeight held) {
  Tensor& bytes = std::holds_alternative<Dense>(held) ? std::get<Dense>(held).weight : std::get<GgufBlocks>(held).bytes;
  bytes = at::empty_like(bytes);
  return held;
}

// On `meta`, where a plan is made, only memory is counted.
c10::Device host_of(const Tensor& weight) { return weight.is_meta() ? weight.device() : c10::Device(at::kCPU); }

// Rows from `first` on take the place of those in `held`.
void encode_rows(const Tensor& rows, GgmlType type, int64_t first, HeldWeight& held) {
  const std::span<const float> values(rows.const_data_ptr<float>(), static_cast<size_t>(rows.numel()));
  std::vector<std::byte> bytes;
  encode(values, type, bytes);
  if (auto* blocks = std::get_if<GgufBlocks>(&held)) {
    const Tensor to = blocks->bytes.narrow(0, first, rows.size(0));
    to.copy_(at::from_blob(bytes.data(), to.sizes(), at::TensorOptions(at::kByte)));
    return;
  }
  const Tensor rounded = at::empty(rows.sizes(), at::kFloat);
  decode(bytes, type, {rounded.mutable_data_ptr<float>(), values.size()});
  std::get<Dense>(held).weight.narrow(0, first, rows.size(0)).copy_(rounded);
}

// Fills `held` with Q(W), or with Q(W + scale B A).
void fill(HeldWeight& held, const Tensor& weight, const ServedType& served, const Lora* lora) {
  const c10::NoGradGuard no_grad;
  const auto on_host = at::TensorOptions(at::kFloat).device(host_of(weight));
  const Tensor a = lora ? lora->a.to(on_host) : Tensor(), b = lora ? lora->b.to(on_host) : Tensor();
  const int64_t step = rows_at_a_time(weight.size(1), served.rows_together);
  for (int64_t first = 0; first < weight.size(0); first += step) {
    const int64_t count = std::min(step, weight.size(0) - first);
    Tensor rows = at::empty({count, weight.size(1)}, on_host);
    rows.copy_(weight.narrow(0, first, count));
    if (lora) merge_rows(rows, a, b.narrow(0, first, count), lora->scale, {});
    if (!weight.is_meta()) encode_rows(rows, served.type, first, held);
  }
}

}  // namespace

HeldWeight encode_served(const Tensor& weight, const ServedType& served) {
  HeldWeight held = room_for(weight, served.type);
  fill(held, weight, served, nullptr);
  return held;
}

ServedWeight::ServedWeight(const Tensor& weight, const ServedType& served)
    : served_(served), held_(room_for(weight, served.type)) {}

ServedWeight::ServedWeight(const ServedWeight& other) : served_(other.served_), held_(room_like(other.held_)) {}

const HeldWeight& ServedWeight::of(const Tensor& weight, const Lora& lora) {
  const int64_t a_version = lora.a._version(), b_version = lora.b._version();
  if (a_.is_same(lora.a) && b_.is_same(lora.b) && a_version_ == a_version && b_version_ == b_version) return held_;
  fill(held_, weight, served_, &lora);
  a_ = lora.a, b_ = lora.b, a_version_ = a_version, b_version_ = b_version;
  return held_;
}

}  // namespace prentice
