#include "kernels/rope.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/operation.h"
#include "kernels/rope_math.h"
#include "kernels/vector.h"

namespace prentice {

namespace {

// One head of one token; `direction` -1 turns back, which is the gradient.
template <class T>
PRENTICE_VECTORISED void rotate_head(const T* x, const T* cosine, const T* sine, T* y, Wide<T> direction,
                                     int64_t half) {
  for (int64_t j = 0; j < half; ++j) {
    turn_pair(x[j], x[j + half], cosine[j], sine[j], direction, y[j], y[j + half]);
  }
}

using Turn = Tensor(const Tensor&, const Tensor&, const Tensor&, double);

Tensor turn_meta(const Tensor& x, const Tensor&, const Tensor&, double) {
  return at::empty_like(x, x.options(), at::MemoryFormat::Contiguous);
}

Tensor turn_cpu(const Tensor& any, const Tensor& cosine, const Tensor& sine, double direction) {
  const Tensor x = with_dense_rows(any);
  Tensor y = turn_meta(x, cosine, sine, direction);
  const int64_t heads = x.size(1), width = x.size(2), half = cosine.size(1);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "rotate", [&] {
    const auto in = const_rows_of<scalar_t>(x), c = const_rows_of<scalar_t>(cosine), s = const_rows_of<scalar_t>(sine);
    const auto out = rows_of<scalar_t>(y);
    at::parallel_for(0, x.size(0), row_grain(heads * width), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t head = 0; head < heads; ++head) {
          const auto* from = in[t] + head * width;
          auto* to = out[t] + head * width;
          rotate_head(from, c[t], s[t], to, static_cast<Wide<scalar_t>>(direction), half);
          std::copy(from + 2 * half, from + width, to + 2 * half);
        }
      }
    });
  });
  return y;
}

Tensor turn(const Tensor& x, const Tensor& cosine, const Tensor& sine, double direction) {
  static const auto forward = operation<Turn>("prentice::rotate_forward");
  const at::AutoDispatchBelowADInplaceOrView plain;
  return forward.call(x, cosine, sine, direction);
}

struct Rotate : torch::autograd::Function<Rotate> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& cosine,
                        const Tensor& sine) {
    context->save_for_backward({cosine, sine});
    return turn(x, cosine, sine, 1);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    return {turn(grads[0], saved[0], saved[1], -1), Tensor(), Tensor()};
  }
};

Tensor with_gradient(const Tensor& x, const Tensor& cosine, const Tensor& sine) {
  return Rotate::apply(x, cosine.to(x.scalar_type()).contiguous(), sine.to(x.scalar_type()).contiguous());
}

}  // namespace

Tensor rotate_composite(const Tensor& x, const Tensor& cosine, const Tensor& sine) {
  const int64_t half = cosine.size(1), width = x.size(2);
  const Tensor low = x.narrow(2, 0, half), high = x.narrow(2, half, half);
  const Tensor c = cosine.unsqueeze(1), s = sine.unsqueeze(1);
  std::vector<Tensor> parts = {low * c - high * s, high * c + low * s};
  if (2 * half < width) parts.push_back(x.narrow(2, 2 * half, width - 2 * half));
  return at::cat(parts, 2);
}

Tensor rotate(const Tensor& x, const Tensor& cosine, const Tensor& sine) {
  static const auto turned = operation<decltype(rotate)>("prentice::rotate");
  return turned.call(x, cosine, sine);
}

}  // namespace prentice

TORCH_LIBRARY_FRAGMENT(prentice, library) {
  library.def("rotate(Tensor x, Tensor cosine, Tensor sine) -> Tensor", &prentice::rotate_composite);
  // The gradient turns back: direction -1.
  library.def("rotate_forward(Tensor x, Tensor cosine, Tensor sine, float direction) -> Tensor");
  prentice::implement_on_devices(library, "rotate", &prentice::with_gradient);
  prentice::implement_pass(library, "rotate_forward", &prentice::turn_cpu, &prentice::turn_meta);
}
