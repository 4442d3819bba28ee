#include "kernels/label_losses.h"

#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/full.h>

#include "kernels/operation.h"

namespace prentice {

namespace {

// Of ATen operations: on the CPU, on `meta`, and what the kernel of a device is compared with.
Tensor composite(const Tensor& labels, const Tensor& logits, bool gradients) {
  Tensor rows = logits;
  const Tensor column = labels.unsqueeze(1);
  at::_log_softmax_out(rows, rows, 1, false);
  Tensor losses = rows.gather(1, column).squeeze(1).neg_();
  if (!gradients) return losses;
  rows.exp_();
  rows.scatter_add_(1, column, at::full({labels.size(0), 1}, -1, rows.options()));
  return losses;
}

}  // namespace

Tensor label_losses(const Tensor& labels, Tensor& logits, bool gradients) {
  static const auto losses = operation<decltype(composite)>("prentice::label_losses");
  return losses.call(labels, logits, gradients);
}

}  // namespace prentice

TORCH_LIBRARY_FRAGMENT(prentice, library) {
  library.def("label_losses(Tensor labels, Tensor(a!) logits, bool gradients) -> Tensor",
              torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd, &prentice::composite));
}
