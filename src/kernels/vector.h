// What the fused CPU loops share: rows of a matrix that may lie inside a wider one, and parallel loops over rows.
#pragma once

#include <ATen/OpMathType.h>

#include <algorithm>

#include "core/parallel.h"
#include "core/tensor.h"
#include "core/vectorised.h"

namespace prentice {

// f64 computes in f64, every other type in f32.
template <class T>
using Wide = at::opmath_type<T>;

// Partial sums a reduction keeps, so that it runs in vector registers with a fixed order of additions.
inline constexpr int64_t kLanes = 16;

// [rows, columns] with columns side by side and rows `stride` elements apart.
template <class T>
struct Rows {
  T* data;
  int64_t stride;
  T* operator[](int64_t row) const { return data + row * stride; }
};

template <class T>
Rows<T> rows_of(const Tensor& tensor) {
  return {tensor.data_ptr<T>(), tensor.stride(0)};
}
template <class T>
Rows<const T> const_rows_of(const Tensor& tensor) {
  return {tensor.const_data_ptr<T>(), tensor.stride(0)};
}

// The tensor itself when everything behind the first dimension is side by side, else a copy of which this is true.
inline Tensor with_dense_rows(const Tensor& tensor) {
  int64_t wanted = 1;
  for (int64_t dim = tensor.dim() - 1; dim > 0; --dim) {
    if (tensor.size(dim) != 1 && tensor.stride(dim) != wanted) return tensor.contiguous();
    wanted *= tensor.size(dim);
  }
  return tensor;
}

// Rows a thread should at least get, when one has `width` elements: handing out fewer takes longer than the loop.
inline int64_t row_grain(int64_t width) { return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, width)); }

}  // namespace prentice
