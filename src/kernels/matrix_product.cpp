#include "kernels/matrix_product.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/mm.h>

#include <string_view>

namespace prentice {

namespace {

// Below this many multiply-adds (a decoding step, a small adapter) what a call costs outweighs what it saves.
constexpr int64_t kLeastWork = int64_t{1} << 22;
// oneDNN gains on wide results; a narrow one (an adapter's A) is as fast in MKL.
constexpr int64_t kLeastWidth = 64, kLeastRows = 128;

using OneDnnLinear = Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view,
                            c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);

// Registered by LibTorch where it was built with oneDNN.
const std::optional<c10::TypedOperatorHandle<OneDnnLinear>>& one_dnn_linear() {
  static const std::optional<c10::TypedOperatorHandle<OneDnnLinear>> found = [] {
    const auto handle = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    return handle ? std::optional(handle->typed<OneDnnLinear>()) : std::nullopt;
  }();
  return found;
}

bool worth_one_dnn(const Tensor& x, const Tensor& weight) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat &&
         is_for_one_dnn(x.size(0), weight.size(1), weight.size(0));
}

}  // namespace

bool is_for_one_dnn(int64_t rows, int64_t in, int64_t out) {
  return rows >= kLeastRows && in >= kLeastWidth && out >= kLeastWidth && rows * in * out >= kLeastWork;
}

Tensor product_transposed(const Tensor& x, const Tensor& weight) {
  if (!worth_one_dnn(x, weight) || !one_dnn_linear()) return at::mm(x, weight.t());
  return one_dnn_linear()->call(x, weight, std::nullopt, "none", c10::List<std::optional<at::Scalar>>(), std::nullopt);
}

}  // namespace prentice
