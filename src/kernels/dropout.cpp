#include "kernels/dropout.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/dropout_mask.h"
#include "kernels/operation.h"
#include "kernels/vector.h"

namespace prentice {

namespace {

// Words of several blocks at once: independent lanes, so that the rounds run in vector registers.
constexpr int64_t kBlocksAtOnce = 16;

PRENTICE_VECTORISED void fill_words(const PhiloxWords& stream, int64_t position, int64_t first_block, uint32_t* words) {
  for (int64_t lane = 0; lane < kBlocksAtOnce; ++lane) {
    const PhiloxWords drawn = dropout_words(stream, position, first_block + lane);
    for (int64_t k = 0; k < 4; ++k) words[4 * lane + k] = drawn.word[k];
  }
}

template <class T>
void drop_row(const T* x, T* y, int64_t width, const PhiloxWords& stream, int64_t position, uint32_t threshold,
              Wide<T> scale) {
  uint32_t words[4 * kBlocksAtOnce];
  for (int64_t start = 0; start < width; start += 4 * kBlocksAtOnce) {
    fill_words(stream, position, start / 4, words);
    const int64_t count = std::min<int64_t>(4 * kBlocksAtOnce, width - start);
    for (int64_t j = 0; j < count; ++j) {
      y[start + j] = words[j] < threshold ? T(0) : static_cast<T>(static_cast<Wide<T>>(x[start + j]) * scale);
    }
  }
}

Tensor dropout_meta(const Tensor& x, const Tensor&, const Tensor&, const Tensor&, int64_t, int64_t, int64_t, double) {
  return at::empty(x.sizes(), x.options());
}

Tensor dropout_cpu(const Tensor& any, const Tensor& sample_key, const Tensor& sequence_id, const Tensor& positions,
                   int64_t seed, int64_t step, int64_t module, double rate) {
  const Tensor x = with_dense_rows(any);
  Tensor y = at::empty(x.sizes(), x.options());
  const int64_t width = x.size(1);
  const auto* keys = sample_key.const_data_ptr<int64_t>();
  const auto* sequence = sequence_id.const_data_ptr<int32_t>();
  const auto* position = positions.const_data_ptr<int64_t>();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "dropout", [&] {
    const auto in = const_rows_of<scalar_t>(x);
    const auto out = rows_of<scalar_t>(y);
    at::parallel_for(0, x.size(0), row_grain(4 * width), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const auto stream = dropout_stream(static_cast<uint64_t>(seed), step, module, keys[sequence[t]]);
        drop_row(in[t], out[t], width, stream, position[t], dropout_threshold(rate),
                 static_cast<Wide<scalar_t>>(1 / (1 - rate)));
      }
    });
  });
  return y;
}

struct Dropped : torch::autograd::Function<Dropped> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& sample_key,
                        const Tensor& sequence_id, const Tensor& positions, const DropoutKey& key) {
    auto& data = context->saved_data;
    data["seed"] = static_cast<int64_t>(key.seed);
    data["step"] = key.step, data["module"] = key.module, data["rate"] = key.rate;
    context->save_for_backward({sample_key, sequence_id, positions});
    return apply_dropout(x, key);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list upstream) {
    const auto saved = context->get_saved_variables();
    auto& data = context->saved_data;
    const DropoutKey key{.seed = static_cast<uint64_t>(data["seed"].toInt()),
                         .step = data["step"].toInt(),
                         .module = data["module"].toInt(),
                         .rate = data["rate"].toDouble(),
                         .sample_key = saved[0],
                         .sequence_id = saved[1],
                         .positions = saved[2]};
    return {apply_dropout(upstream[0], key), {}, {}, {}, {}};
  }
};

}  // namespace

Tensor apply_dropout(const Tensor& x, const DropoutKey& key) {
  static const auto dropout = operation<decltype(dropout_cpu)>("prentice::dropout");
  return dropout.call(x, key.sample_key, key.sequence_id, key.positions, static_cast<int64_t>(key.seed), key.step,
                      key.module, key.rate);
}

Tensor dropout(const Tensor& x, const DropoutKey& key) {
  return Dropped::apply(x, key.sample_key, key.sequence_id, key.positions, key);
}

}  // namespace prentice

TORCH_LIBRARY(prentice, library) {
  library.def(
      "dropout(Tensor x, Tensor sample_key, Tensor sequence_id, Tensor positions, int seed, int step, int module, "
      "float rate) -> Tensor");
  prentice::implement_pass(library, "dropout", &prentice::dropout_cpu, &prentice::dropout_meta);
}
