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

// x [T, H, E] into y, which may be x itself.
using Turn = void(const Tensor&, const Tensor&, const Tensor&, double, const Tensor&);

void turn_meta(const Tensor&, const Tensor&, const Tensor&, double, const Tensor&) {}

void turn_cpu(const Tensor& any, const Tensor& cosine, const Tensor& sine, double direction, const Tensor& y) {
  const Tensor x = with_dense_rows(any);
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
          if (from != to) std::copy(from + 2 * half, from + width, to + 2 * half);
        }
      }
    });
  });
}

void turn(const Tensor& x, const Tensor& cosine, const Tensor& sine, double direction, const Tensor& y) {
  static const auto into = operation<Turn>("prentice::rotate_into");
  const at::AutoDispatchBelowADInplaceOrView plain;
  into.call(x, cosine, sine, direction, y);
}

Tensor turned(const Tensor& x, const Tensor& cosine, const Tensor& sine, double direction) {
  Tensor y = at::empty_like(x, x.options(), at::MemoryFormat::Contiguous);
  turn(x, cosine, sine, direction, y);
  return y;
}

struct Rotate : torch::autograd::Function<Rotate> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& cosine,
                        const Tensor& sine) {
    context->save_for_backward({cosine, sine});
    return turned(x, cosine, sine, 1);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    return {turned(grads[0], saved[0], saved[1], -1), Tensor(), Tensor()};
  }
};

struct RotateInPlace : torch::autograd::Function<RotateInPlace> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, int64_t heads, const Tensor& cosine,
                        const Tensor& sine) {
    const at::AutoDispatchBelowADInplaceOrView plain;
    const Tensor each = x.unflatten(1, {heads, x.size(1) / heads});
    turn(each, cosine, sine, 1, each);
    context->save_for_backward({cosine, sine});
    context->saved_data["heads"] = heads;
    context->mark_dirty({x});
    return x;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    const int64_t heads = context->saved_data["heads"].toInt();
    const Tensor each = grads[0].unflatten(1, {heads, grads[0].size(1) / heads});
    return {turned(each, saved[0], saved[1], -1).flatten(1), Tensor(), Tensor(), Tensor()};
  }
};

Tensor as_used(const Tensor& table, const Tensor& x) { return table.to(x.scalar_type()).contiguous(); }

Tensor with_gradient(const Tensor& x, const Tensor& cosine, const Tensor& sine) {
  return Rotate::apply(x, as_used(cosine, x), as_used(sine, x));
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

Tensor rotate_in_place(const Tensor& x, int64_t heads, const Tensor& cosine, const Tensor& sine) {
  return RotateInPlace::apply(x, heads, as_used(cosine, x), as_used(sine, x));
}

}  // namespace prentice

TORCH_LIBRARY_FRAGMENT(prentice, library) {
  library.def("rotate(Tensor x, Tensor cosine, Tensor sine) -> Tensor", &prentice::rotate_composite);
  // The gradient turns back: direction -1.
  library.def("rotate_into(Tensor x, Tensor cosine, Tensor sine, float direction, Tensor(a!) y) -> ()");
  prentice::implement_on_devices(library, "rotate", &prentice::with_gradient);
  prentice::implement_pass(library, "rotate_into", &prentice::turn_cpu, &prentice::turn_meta);
}
