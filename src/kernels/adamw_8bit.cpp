#include "kernels/adamw_8bit.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>

#include "core/parallel.h"
#include "kernels/adamw_8bit_code.h"
#include "kernels/operation.h"
#include "kernels/vector.h"

namespace prentice {

namespace {

using Move = void(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                  const Tensor&, const Tensor&, const Tensor&, const Tensor&, double, double, double);

constexpr int64_t kBlocksAtOnce = 16;  // of a thread

struct Block {
  int64_t size;
  uint8_t* code;
  float* absmax;
  const float* map;
};

using Values = std::array<float, kDynamicBlock>;

Values decoded(const Block& block) {
  Values values{};
  for (int64_t k = 0; k < block.size; ++k) values[k] = times(block.map[block.code[k]], *block.absmax);
  return values;
}

void encode(const Values& values, const Block& block) {
  float most = 0;
  for (int64_t k = 0; k < block.size; ++k) most = std::max(most, std::fabs(values[k]));
  *block.absmax = most;
  const float inverse = 1.0f / most;  // 0 * infinity is no number: place 0, and its scale makes it 0 again
  for (int64_t k = 0; k < block.size; ++k) block.code[k] = dynamic_code(block.map, times(values[k], inverse));
}

template <class T>
void move_block(T* weight, const T* gradient, const Block& of_first, const Block& of_second, const AdamwRates& by,
                const AdamwStep& step) {
  Values first = decoded(of_first), second = decoded(of_second);
  for (int64_t k = 0; k < of_first.size; ++k) {
    const auto g = static_cast<float>(gradient[k]);
    first[k] = first_moment(by, first[k], g);
    second[k] = second_moment(by, second[k], g);
    weight[k] = static_cast<T>(moved<Wide<T>>(by, step, static_cast<Wide<T>>(weight[k]), first[k], second[k]));
  }
  encode(first, of_first);
  encode(second, of_second);
}

void move_cpu(const Tensor& weight, const Tensor& gradient, const Tensor& first, const Tensor& first_absmax,
              const Tensor& second, const Tensor& second_absmax, const Tensor& first_map, const Tensor& second_map,
              const Tensor& step, const Tensor& skip, double beta1, double beta2, double eps) {
  if (skip.item<float>() != 0) return;
  const float* said = step.const_data_ptr<float>();
  const AdamwStep now{.rate = said[0], .root = said[1], .kept = said[2]};
  const AdamwRates by{static_cast<float>(beta1), static_cast<float>(1 - beta1), static_cast<float>(beta2),
                      static_cast<float>(1 - beta2), static_cast<float>(eps)};
  const auto block_of = [](const Tensor& codes, const Tensor& absmax, const Tensor& map, int64_t index) {
    const int64_t start = index * kDynamicBlock;
    return Block{.size = std::min(kDynamicBlock, codes.numel() - start),
                 .code = codes.mutable_data_ptr<uint8_t>() + start,
                 .absmax = absmax.mutable_data_ptr<float>() + index,
                 .map = map.const_data_ptr<float>()};
  };
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, weight.scalar_type(), "adamw_8bit", [&] {
    auto* w = weight.mutable_data_ptr<scalar_t>();
    const auto* g = gradient.const_data_ptr<scalar_t>();
    at::parallel_for(0, first_absmax.numel(), kBlocksAtOnce, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        move_block(w + i * kDynamicBlock, g + i * kDynamicBlock, block_of(first, first_absmax, first_map, i),
                   block_of(second, second_absmax, second_map, i), by, now);
      }
    });
  });
}

void move_meta(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
               const Tensor&, const Tensor&, const Tensor&, double, double, double) {}

// Where the weight is: the kernel of a device cannot read the host's.
std::pair<Tensor, Tensor> maps_on(const at::Device& device) {
  if (!device.is_cuda()) return {signed_dynamic_map(), unsigned_dynamic_map()};
  static std::mutex mutex;
  static std::map<int, std::pair<Tensor, Tensor>> maps;
  const std::lock_guard lock(mutex);
  auto& [first, second] = maps[device.index()];
  if (!first.defined()) first = signed_dynamic_map().to(device), second = unsigned_dynamic_map().to(device);
  return {first, second};
}

}  // namespace

Moments8Bit make_moments_8bit(const Tensor& weight) {
  const int64_t blocks = (weight.numel() + kDynamicBlock - 1) / kDynamicBlock;
  const auto options = weight.options().requires_grad(false);
  const auto codes = [&] { return at::zeros(weight.sizes(), options.dtype(at::kByte)); };
  const auto absmax = [&] { return at::zeros({blocks}, options.dtype(at::kFloat)); };
  return {.first = codes(), .first_absmax = absmax(), .second = codes(), .second_absmax = absmax()};
}

void adamw_8bit(const Tensor& weight, const Tensor& gradient, const Moments8Bit& moments, const Tensor& step,
                const Tensor& skip, const Adamw8BitOptions& options) {
  static const auto move = operation<Move>("prentice::adamw_8bit");
  const c10::NoGradGuard no_grad;
  const auto [first_map, second_map] = maps_on(weight.device());
  move.call(weight, gradient, moments.first, moments.first_absmax, moments.second, moments.second_absmax, first_map,
            second_map, step, skip, options.beta1, options.beta2, options.eps);
}

}  // namespace prentice

TORCH_LIBRARY_FRAGMENT(prentice, library) {
  library.def(
      "adamw_8bit(Tensor(a!) weight, Tensor gradient, Tensor(b!) first, Tensor(c!) first_absmax, Tensor(d!) second, "
      "Tensor(e!) second_absmax, Tensor first_map, Tensor second_map, Tensor step, Tensor skip, float beta1, "
      "float beta2, float eps) -> ()");
  prentice::implement_pass(library, "adamw_8bit", &prentice::move_cpu, &prentice::move_meta);
}
