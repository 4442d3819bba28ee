#include "adapter/pissa.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/mm.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "adapter/init.h"
#include "core/wide_type.h"

namespace prentice {

namespace {

constexpr int64_t kExtra = 8;  // columns beyond the rank that make the iteration converge
constexpr int kPasses = 16;

struct Parts {
  Tensor u, s, vt;  // [out, R], [R], [R, in]
};

Parts first_parts(const std::tuple<Tensor, Tensor, Tensor>& all, int64_t rank) {
  const auto& [u, s, vt] = all;
  return {u.narrow(1, 0, rank), s.narrow(0, 0, rank), vt.narrow(0, 0, rank)};
}

Tensor basis(const Tensor& columns) { return std::get<0>(at::linalg_qr(columns)); }

Parts principal_parts(const Tensor& weight, int64_t rank, uint64_t seed, const std::string& name) {
  const int64_t smaller = std::min(weight.size(0), weight.size(1));
  if (smaller <= kWholeDecomposition) return first_parts(at::linalg_svd(weight, false), rank);
  const int64_t width = std::min(rank + kExtra, smaller);
  const Tensor start = normal_matrix(weight.size(1), width, 1, seed, name + ".pissa").to(weight.options());
  Tensor left = basis(at::mm(weight, start));
  for (int pass = 0; pass < kPasses; ++pass) left = basis(at::mm(weight, basis(at::mm(weight.t(), left))));
  const auto [u, s, vt] = at::linalg_svd(at::mm(left.t(), weight), false);
  return first_parts({at::mm(left, u), s, vt}, rank);
}

}  // namespace

void start_from_principal_part(Linear& linear, int64_t rank, uint64_t seed) {
  const c10::NoGradGuard no_grad;
  Lora& lora = *linear.lora;
  Tensor& weight = std::get<Dense>(linear.weight).weight;
  const auto wide = wide_type(weight);
  if (weight.is_meta()) {  // a plan: shapes are all there is
    const auto options = weight.options().dtype(wide);
    lora.a = at::empty({rank, linear.in_features}, options), lora.b = at::empty({linear.out_features, rank}, options);
    lora.first_a = at::empty_like(lora.a), lora.first_b = at::empty_like(lora.b);
    return;
  }
  const Tensor whole = weight.to(wide);
  const Parts parts = principal_parts(whole, rank, seed, linear.name);
  const Tensor root = parts.s.div(lora.scale).sqrt_();
  lora.a = root.unsqueeze(1) * parts.vt;
  lora.b = (parts.u * root).contiguous();
  lora.first_a = lora.a.clone(), lora.first_b = lora.b.clone();
  weight.copy_(whole - at::mm(lora.b, lora.a).mul_(lora.scale));  // in place: a joined product reads the same memory
}

}  // namespace prentice
