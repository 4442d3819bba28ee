#include "nn/host_rows.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <c10/core/GradMode.h>

#include "core/host_copies.h"

namespace prentice {

Tensor rows_from_host(const Tensor& matrix, const Tensor& ids, const Tensor& host_ids) {
  const c10::NoGradGuard no_grad;
  if (ids.is_meta()) return at::empty({ids.size(0), matrix.size(1)}, ids.options().dtype(matrix.scalar_type()));
  const Tensor known = host_ids.defined() ? host_ids : ids.cpu();
  Tensor rows = empty_on_host({known.size(0), matrix.size(1)}, matrix.scalar_type(), ids.device());
  at::index_select_out(rows, matrix, 0, known);
  return on_device(rows, ids.device());
}

}  // namespace prentice
